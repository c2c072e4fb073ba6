// `turnout-agent namespaces …`: a node that sees nothing of the machine but what it needs. It needs
// no root: the kernel gives namespaces to everybody, where nothing forbids it.
//
//   namespaces --log FILE --root DIR [--hide DIR]… [--read PATH]… [--write PATH]… -- PROGRAM ARG…
//
// Two processes stay. The outer one is as it was started, in the folder of the node: who kills it
// kills the node, with all that hides there; SIGUSR1 ends the agent alone. The inner one is the
// first process of the namespaces (user, mount, process, IPC): it keeps PROGRAM running
// (app/init.h). There
//
//   /usr /bin /sbin /lib* /etc /opt /nix /sys, and each --read    can be read, not changed
//   /dev                   few devices, with a /dev/shm and terminals of its own
//   /tmp /var/tmp          a new folder in the node's
//   /proc                  its own processes
//   --write                may be changed: the node's folder among them
//
// and no other files: /home, /root, /run, /var and each --hide (the data folder) are empty, and
// what leads into one by another way is not shown. Nobody there has a capability, nor gets one by a
// program (no_new_privs) or by further namespaces, and calls that only ever helped to break out
// (seccomp) are refused. DIR of --root is an empty folder. Where that cannot be had it ends with
// status 125 and a line in FILE.
#pragma once

namespace turnout {

// `arguments` after "namespaces". Returns only with an exit code.
int run_in_namespaces(int count, char** arguments);

}  // namespace turnout
