// "HOST:PORT" as text: what a server listens on, and what of it others may be told. The address of
// a version 6 host stands in brackets. Pure.
#pragma once

#include <string>

namespace turnout {

std::string port_of(const std::string& address);
std::string host_of(const std::string& address);  // with its brackets
std::string without_brackets(const std::string& host);

// The address on which every interface of the machine listens.
bool is_everywhere(const std::string& host);
// Only this machine itself reaches what listens there.
bool is_this_machine_only(const std::string& host);
// Where this machine itself finds what listens there.
std::string reached_here(const std::string& address);

}  // namespace turnout
