"""Four processes on two nodes add up their ranks, with nothing but sockets: rank 0 listens where
MASTER_ADDR and MASTER_PORT say. torch.distributed reads the same variables with init_method="env://"."""
import os
import socket
import time

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
print(f"rank {rank} of {world}: node {os.environ['NODE_RANK']}, process {os.environ['LOCAL_RANK']} there", flush=True)

if rank == 0:
    with socket.create_server(place) as listener:
        others = [listener.accept()[0] for _ in range(world - 1)]
        total = sum(int(other.recv(16)) for other in others)
        for other in others:
            other.sendall(str(total).encode())
else:
    while True:
        try:
            connection = socket.create_connection(place)
            break
        except ConnectionRefusedError:  # rank 0 is not there yet
            time.sleep(0.05)
    connection.sendall(str(rank).encode())
    total = int(connection.recv(16))
print(f"the sum of all ranks is {total}")
