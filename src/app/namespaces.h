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
//   /dev                   devices, with a /dev/shm and terminals of its own
//   /tmp /var/tmp          the folder `.tmp` of the node
//   /proc                  its own processes
//   --write                may be changed, under the same path: the node's folder among them
//
// and nothing else: /home, /root, /run, /var and each --hide (the data folder) are empty. Nobody
// there has a capability, nor gets one by a program (no_new_privs), and calls that only ever helped
// to break out (seccomp) are refused. DIR of --root is an empty folder. What cannot be had is an
// end with status 125 and a line in FILE, never less than this.
#pragma once

namespace turnout {

// `arguments` after "namespaces". Returns only with an exit code.
int run_in_namespaces(int count, char** arguments);

}  // namespace turnout
