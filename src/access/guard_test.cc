#include "access/guard.h"

#include <gtest/gtest.h>

namespace turnout::access {
namespace {

TEST(Guard, WhoGuessesWaitsLongerEachTimeAndIsForgottenAtLast) {
    Guard guard({});
    Span now = 1h;
    for (int i = 0; i < 9; ++i) guard.guessed("10.0.0.7", "", false, now);
    EXPECT_EQ(guard.wait("10.0.0.7", "", now), Span{});
    guard.guessed("10.0.0.7", "", false, now);
    EXPECT_EQ(guard.wait("10.0.0.7", "", now), Span(1s));
    EXPECT_EQ(guard.wait("10.0.0.8", "", now), Span{});  // nobody else
    now += 1s;
    EXPECT_EQ(guard.wait("10.0.0.7", "", now), Span{});
    Span last = 1s;
    for (int i = 0; i < 30; ++i) {
        guard.guessed("10.0.0.7", "", false, now);
        const Span wait = guard.wait("10.0.0.7", "", now);
        EXPECT_EQ(wait, std::min<Span>(15min, 2 * last));
        last = wait;
        now += wait;
    }
    EXPECT_EQ(last, Span(15min));
    now += 1h + 1s;
    guard.guessed("10.0.0.7", "", false, now);
    EXPECT_EQ(guard.wait("10.0.0.7", "", now), Span{});
}

TEST(Guard, ANameIsLookedAtFromWhereverItIsTried) {
    Guard guard({});
    for (int i = 0; i < 10; ++i) guard.guessed("10.0.0." + std::to_string(i), "ada", false, 1h);
    EXPECT_EQ(guard.wait("10.0.0.99", "", 1h), Span{});
    EXPECT_EQ(guard.wait("10.0.0.99", "ada", 1h), Span(1s));
    EXPECT_EQ(guard.wait("10.0.0.99", "bob", 1h), Span{});
}

TEST(Guard, OnThisMachineNobodyWaitsLong) {
    Guard guard({});
    for (int i = 0; i < 1'000; ++i) guard.guessed("127.0.0.1", "", true, 1h);
    EXPECT_EQ(guard.wait("127.0.0.1", "", 1h), Span(30s));
}

TEST(Guard, ABudgetHasBurstsAndIsEachUsersOwn) {
    Guard::Settings settings;
    settings.requests_a_second = 10;
    settings.burst = 20;
    Guard guard(settings);
    Span now = 1h;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(guard.spend("ada", now), Span{});
    EXPECT_EQ(guard.spend("ada", now), Span(100ms));
    EXPECT_EQ(guard.spend("bob", now), Span{});
    now += 100ms;
    EXPECT_EQ(guard.spend("ada", now), Span{});
    EXPECT_GT(guard.spend("ada", now), Span{});
    int went = 0;
    for (int i = 0; i < 1'000; ++i) {
        now += 10ms;
        went += guard.spend("ada", now) == Span{};
    }
    EXPECT_GE(went, 99);  // in ten seconds
    EXPECT_LE(went, 101);
    now += 1h;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(guard.spend("ada", now), Span{});
    EXPECT_GT(guard.spend("ada", now), Span{});
}

TEST(Guard, WhatItRemembersIsBounded) {
    Guard::Settings settings;
    settings.most = 100;
    Guard guard(settings);
    for (int i = 0; i < 10; ++i) guard.guessed("first", "", false, 1h);
    for (int i = 0; i < 1'000; ++i) guard.guessed(std::to_string(i), "", false, 1h);
    EXPECT_EQ(guard.wait("first", "", 1h), Span{});
}

}  // namespace
}  // namespace turnout::access
