// What pip installs inside a job stays with that job: neither the machine's Python nor an
// environment that other jobs use is changed.
//
// Where the agent may mount (as root), the environment's folder is seen by the job through an
// overlay whose upper side is the attempt's: all of pip works there, and nothing reaches the folder
// beneath. Elsewhere, and over the machine's own Python, the first `python` or `pip` that the job
// starts makes a venv of the attempt that sees the packages beneath it.
#pragma once

#include <string>

#include "agent/environment/prepare.h"
#include "agent/work.h"

namespace turnout::agent {

// A folder of this node with `python`, `python3`, `pip`, … that lead through an attempt's own venv
// ($TURNOUT_LAYER) to the interpreter; made once. "" if it cannot be.
std::string layer_programs(const AgentSettings& settings, const environment::Prepared& prepared);
// Where the attempt's own venv is, if one was made.
std::string layer_of(const Work& work);
// Whether the job sees the prepared environment through an overlay, if the node allows it.
bool has_overlay(const Work& work);
// Upper side of that overlay.
std::string overlay_of(const Work& work);

}  // namespace turnout::agent
