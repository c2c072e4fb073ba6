#include "fetch/addresses.h"

#include <gtest/gtest.h>

namespace turnout::fetch {
namespace {

std::string ip(std::string_view text) {
    const auto parsed = parse_ip(text);
    EXPECT_TRUE(parsed) << text;
    return parsed.value_or("");
}

TEST(Addresses, PublicOnesArePublic) {
    for (const char* text :
         {"20.60.1.2", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.1",
          "192.167.255.255", "192.169.0.1", "11.0.0.0", "223.255.255.255", "168.63.129.15",
          "2600:1406::1", "2a00:1450:4001::200e", "::ffff:20.60.1.2", "64:ff9b::20.60.1.2",
          "2002:143c:102::1"})
        EXPECT_EQ(not_public(ip(text)).value_or("public"), "public") << text;
}

TEST(Addresses, AllElseIsNot) {
    for (const char* text : {"0.0.0.0",
                             "0.1.2.3",
                             "10.0.0.1",
                             "10.255.255.255",
                             "100.64.0.1",
                             "100.100.100.200",
                             "100.127.255.255",
                             "127.0.0.1",
                             "127.255.255.254",
                             "169.254.169.254",
                             "169.254.0.1",
                             "168.63.129.16",
                             "172.16.0.1",
                             "172.31.255.255",
                             "192.0.0.192",
                             "192.0.2.1",
                             "192.88.99.1",
                             "192.168.1.1",
                             "198.18.0.1",
                             "198.19.255.255",
                             "198.51.100.7",
                             "203.0.113.9",
                             "224.0.0.1",
                             "239.1.1.1",
                             "240.0.0.1",
                             "255.255.255.255",
                             "::",
                             "::1",
                             "fe80::1",
                             "fd00:ec2::254",
                             "fc00::1",
                             "ff02::1",
                             "2001:db8::1",
                             "2001::1",
                             "3fff::1",
                             "100::1",
                             "5f00::1",
                             "4000::1",
                             "::ffff:127.0.0.1",
                             "::ffff:169.254.169.254",
                             "::ffff:10.1.1.1",
                             "::127.0.0.1",
                             "64:ff9b::10.0.0.1",
                             "64:ff9b::169.254.169.254",
                             "64:ff9b:1::127.0.0.1",
                             "2002:7f00:1::1",
                             "2002:a9fe:a9fe::1",
                             "::ffff:0:127.0.0.1"})
        EXPECT_TRUE(not_public(ip(text))) << text;
    EXPECT_TRUE(not_public(""));
    EXPECT_TRUE(not_public("abc"));
}

Reach reach(std::vector<std::string> opened) {
    std::vector<Allowed> allowed;
    for (const auto& text : opened) {
        auto one = Allowed::parse(text);
        EXPECT_TRUE(one) << text;
        if (one) allowed.push_back(*one);
    }
    return Reach(std::move(allowed));
}

TEST(Reach, OnlyTwoPortsOfPublicAddresses) {
    const Reach plain;
    EXPECT_TRUE(plain.check("a.example", 443, ip("20.60.1.2")));
    EXPECT_TRUE(plain.check("a.example", 80, ip("20.60.1.2")));
    EXPECT_FALSE(plain.check("a.example", 22, ip("20.60.1.2")));
    EXPECT_FALSE(plain.check("a.example", 443, ip("10.0.0.1")));
    const auto refused = plain.check("metadata.example", 80, ip("169.254.169.254"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::PermissionDenied);
    EXPECT_EQ(refused.error().message,
              "metadata.example (169.254.169.254) is the address where clouds serve a machine's "
              "credentials, and the server fetches nothing from there: "
              "whoever runs it can open it with `turnout up --allow-fetch 169.254.169.254`");
}

TEST(Reach, WhatIsAllowedIsThatAndNoMore) {
    const Reach one = reach({"127.0.0.1:8000"});
    EXPECT_TRUE(one.check("127.0.0.1", 8000, ip("127.0.0.1")));
    EXPECT_TRUE(one.check("any.name", 8000, ip("127.0.0.1")));  // it is the address that is open
    EXPECT_FALSE(one.check("127.0.0.1", 8001, ip("127.0.0.1")));
    EXPECT_FALSE(one.check("127.0.0.1", 80, ip("127.0.0.1")));
    EXPECT_FALSE(one.check("127.0.0.2", 8000, ip("127.0.0.2")));
    const Reach named = reach({"files.lab:8000", "[::1]:*", "10.1.0.0/16"});
    EXPECT_TRUE(named.check("files.lab", 8000, ip("10.2.2.2")));
    EXPECT_TRUE(named.check("FILES.lab", 8000, ip("127.0.0.1")));
    EXPECT_FALSE(named.check("other.lab", 8000, ip("10.2.2.2")));
    EXPECT_TRUE(named.check("::1", 12345, ip("::1")));
    EXPECT_TRUE(named.check("x", 443, ip("10.1.255.1")));
    EXPECT_FALSE(named.check("x", 443, ip("10.2.0.1")));
    EXPECT_FALSE(named.check("x", 8000, ip("10.1.255.1")));
    // A name that comes to lead to the cloud's credentials is not meant; their address itself is.
    EXPECT_FALSE(named.check("files.lab", 8000, ip("169.254.169.254")));
    EXPECT_TRUE(reach({"169.254.169.254"}).check("x", 80, ip("169.254.169.254")));
}

TEST(Reach, WhatIsNoAddressIsRefused) {
    for (const char* text :
         {"", ":80", "a b", "a:", "a:0", "a:65536", "a:x", "10.0.0.0/33", "10.0.0.0/x", "[::1",
          "[::1]x", "[::1]:", "http://a", "::1/129", "a/8"})
        EXPECT_FALSE(Allowed::parse(text)) << text;
    for (const char* text :
         {"a", "a.b-c:80", "a:*", "10.0.0.0/8", "0.0.0.0/0", "::1", "[::1]:80", "fd00::/8"})
        EXPECT_TRUE(Allowed::parse(text)) << text;
}

}  // namespace
}  // namespace turnout::fetch
