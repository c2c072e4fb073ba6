#include "base/told.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

TEST(Told, WhatWasShownIsNotShownAgain) {
    EXPECT_EQ(not_told("because of a\nit failed", "  cause: because of a\nmore\n"), "it failed");
    EXPECT_EQ(not_told("because of a\n\n  and b\n", ""), "because of a\n  and b");
    EXPECT_EQ(not_told("a\n b", "a\nb\n"), "");
    EXPECT_EQ(not_told("building\n  cause: because nobody has left-pad\n",
                       "because nobody has left-pad\n"),
              "building");
    EXPECT_EQ(not_told("cause: a", "a"), "cause: a") << "so short it may be anything";
}

}  // namespace
}  // namespace turnout
