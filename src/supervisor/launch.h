// `turnout-supervisor launch …`, see launch.c.
#pragma once

// What a launcher of several processes is called in /proc.
#define LAUNCHER_NAME "turnout-launch"

int launch(int argc, char **argv);
