// What the tests of providers wait by is what all tests wait by.
#pragma once

#include "io/posix/test_until.h"
