#include "fetch/mirror.h"

#include <gtest/gtest.h>

#include "fetch/addresses.h"

namespace turnout::fetch {
namespace {

std::string mirrored(std::string_view mirror, std::string_view address) {
    const auto read = Mirror::parse(mirror);
    if (!read) return "error: " + read.error().message;
    const auto copy = read->of(*parse_source(address));
    return copy ? copy->url() : "not there";
}

TEST(Mirror, WhatLiesBeneathIsAskedForBeneathTheCopy) {
    const std::string storage =
        "https://azuremlexamples.blob.core.windows.net=http://mirror.lab:8080/azure";
    EXPECT_EQ(mirrored(storage, "https://azuremlexamples.blob.core.windows.net/datasets/iris.csv"),
              "http://mirror.lab:8080/azure/datasets/iris.csv");
    EXPECT_EQ(mirrored(storage, "wasbs://datasets@azuremlexamples.blob.core.windows.net/iris.csv"),
              "http://mirror.lab:8080/azure/datasets/iris.csv");
    EXPECT_EQ(
        mirrored("https://a.example/sets/=https://b.example/", "https://a.example/sets/x?y=1"),
        "https://b.example/x?y=1");
    EXPECT_EQ(mirrored("https://a.example/sets=https://b.example", "https://a.example/sets"),
              "https://b.example/");
    EXPECT_EQ(mirrored("https://a.example=http://[::1]:90/c", "https://A.example:443/x%20y"),
              "http://[::1]:90/c/x%20y");
}

TEST(Mirror, AnotherAddressIsNot) {
    for (const char* address :
         {"http://a.example/sets/x", "https://a.example:8443/sets/x", "https://a.example/setsx",
          "https://a.example/", "https://www.a.example/sets/x"})
        EXPECT_EQ(mirrored("https://a.example/sets=https://b.example", address), "not there")
            << address;
}

TEST(Mirror, TheListingOfAFolderIsTheCopys) {
    const auto mirror =
        Mirror::parse("https://acc.blob.core.windows.net=http://127.0.0.1:10000/acc");
    ASSERT_TRUE(mirror);
    const auto folder = parse_source("wasbs://c@acc.blob.core.windows.net/set");
    const auto listing = mirror->of(*listing_of(*folder, ""));
    ASSERT_TRUE(listing);
    EXPECT_EQ(listing->url(),
              "http://127.0.0.1:10000/acc/c?restype=container&comp=list&prefix=set%2F");
    EXPECT_TRUE(listing->in_storage());
}

TEST(Mirror, ItsPlaceIsWhatIsOpened) {
    for (const auto& [text, host, port] :
         std::initializer_list<std::tuple<const char*, const char*, std::uint16_t>>{
             {"https://a=http://mirror.lab/x", "mirror.lab", 80},
             {"https://a=https://[fd00::1]:8443", "fd00::1", 8443}}) {
        const auto allowed = Allowed::parse(Mirror::parse(text)->place());
        ASSERT_TRUE(allowed) << text;
        const Ip ip = *parse_ip("fd00::1");
        EXPECT_TRUE(allowed->opens(host, port, ip));
        EXPECT_FALSE(allowed->opens(host, static_cast<std::uint16_t>(port + 1), ip));
    }
}

TEST(Mirror, WhatIsNoneIsRefusedByName) {
    EXPECT_EQ(mirrored("https://a.example", "https://a.example"),
              "error: 'https://a.example' is not ADDRESS=COPY, such as "
              "https://files.example.org/sets=http://mirror.lab.example/sets");
    EXPECT_EQ(mirrored("https://a.example=wasbs://c@b/x", "https://a.example"),
              "error: 'https://b/c/x' begins neither with https:// nor with http://");
    EXPECT_EQ(mirrored("https://a.example?x=http://b.example", "https://a.example"),
              "error: 'https://a.example/?…' has a query: that of what is fetched is sent");
    for (const char* text : {"=", "", "https://a=", "=https://b", "https://a=ftp://b", "a=b",
                             "https://a=https://user@b"})
        EXPECT_FALSE(Mirror::parse(text)) << text;
}

}  // namespace
}  // namespace turnout::fetch
