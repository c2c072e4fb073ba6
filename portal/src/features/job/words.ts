// What the phases of a job are, in one sentence each.
export const PHASES: [string, string, string][] = [
    ["queue", "queue", "it waited for its turn"],
    ["quota", "quota", "no slot of the pool, or of its user's quota, was free"],
    ["node_start", "node start", "a node of the cluster was starting"],
    ["snapshot", "code", "its code was brought to the node"],
    ["environment", "environment", "its packages were prepared; the same definition is reused later"],
    ["inputs", "inputs", "its inputs were brought to the node"],
    ["user_code", "user code", "its own command ran"],
    ["outputs", "outputs", "what it wrote was stored"],
    ["retry", "retry", "an attempt that was lost, and the wait for the next one"],
    ["preempted", "preempted", "an attempt that had to give way to a job of a dedicated cluster"],
];
export const CAUSES: Record<string, string> = {
    user_code: "The command itself ended with an error: its last lines say why.",
    out_of_memory: "It used more memory than it may: ask for a larger size, or use less.",
    too_many_processes: "It started more processes than it may.",
    timeout: "Its limit of time was over.",
    canceled: "Somebody canceled it.",
    preempted: "It gave way to jobs of dedicated clusters more often than it may.",
    node_lost: "Its node was lost, and so were its retries.",
    environment: "Its environment could not be prepared: see the environment's log.",
    input: "An input could not be brought to the node.",
    internal: "The server or its node failed: this is no fault of the job.",
};
