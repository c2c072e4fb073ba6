#include "fetch/source.h"

#include <gtest/gtest.h>

namespace turnout::fetch {
namespace {

std::string url(std::string_view text) {
    const auto source = parse_source(text);
    return source ? source->url() : "error: " + source.error().message;
}

TEST(Source, AddressesAreSentAsTheyAreMeant) {
    EXPECT_EQ(url("https://a.example/x/y.csv"), "https://a.example/x/y.csv");
    EXPECT_EQ(url("HTTPS://A.Example:443/x"), "https://a.example/x");
    EXPECT_EQ(url("http://a.example:8080"), "http://a.example:8080/");
    EXPECT_EQ(url("https://a.example?q=1#part"), "https://a.example/?q=1");
    EXPECT_EQ(url("https://[::1]:8443/x"), "https://[::1]:8443/x");
    EXPECT_EQ(url("https://a.example/two words/é%20x/100%"),
              "https://a.example/two%20words/%C3%A9%20x/100%25");
    EXPECT_EQ(url("https://a.example/x?sv=1&sig=a%2Fb=="), "https://a.example/x?sv=1&sig=a%2Fb==");
    EXPECT_EQ(url("wasbs://datasets@azuremlexamples.blob.core.windows.net/iris.csv"),
              "https://azuremlexamples.blob.core.windows.net/datasets/iris.csv");
    EXPECT_EQ(url("wasb://c@127.0.0.1:10000/a/b"), "http://127.0.0.1:10000/c/a/b");
    EXPECT_EQ(url("wasbs://c@acc.blob.core.windows.net"), "https://acc.blob.core.windows.net/c/");
}

TEST(Source, WhatCannotBeFetchedIsRefusedByName) {
    for (const char* text :
         {"abfss://c@a.dfs.core.windows.net/x", "s3://bucket/x", "ftp://a/x", "file:///etc/passwd",
          "https://", "https:///x", "https://user:word@a.example/x", "https://a b/x",
          "https://a.example:99999/", "https://a.example:x/", "https://[::1/x", "https://[zz]/",
          "wasbs://a.blob.core.windows.net/x", "wasbs://C!@a/x", "gopher", ""})
        EXPECT_FALSE(parse_source(text)) << text;
    EXPECT_EQ(url("abfss://c@a.dfs.core.windows.net/x?sig=SECRET"),
              "error: 'abfss://c@a.dfs.core.windows.net/x?…' cannot be fetched: inputs are fetched "
              "from https://, http://, wasbs:// and wasb://, not from abfss:");
    EXPECT_EQ(url("https://a.example/\r\nHost: b"),
              "error: 'https://a.example/??Host: b' has a control character");
}

TEST(Source, ASignatureIsNeverShown) {
    const auto source =
        parse_source("https://acc.blob.core.windows.net/c/x.csv?sv=2024&sig=SECRET");
    ASSERT_TRUE(source);
    EXPECT_EQ(source->shown(), "https://acc.blob.core.windows.net/c/x.csv?…");
    EXPECT_EQ(shown_url("https://user:SECRET@a.example/x"), "https://a.example/x");
    for (const char* text :
         {"https://user:SECRET@a.example/x", "https://a b/?sig=SECRET", "ftp://a/x?sig=SECRET",
          "https://a:x/?SECRET", "https://a.example/#SECRET"}) {
        const auto refused = parse_source(text);
        EXPECT_EQ(
            (refused ? refused->url() + refused->shown() : refused.error().message).find("SECRET"),
            std::string::npos)
            << text;
    }
}

TEST(Source, NamesOfFiles) {
    EXPECT_EQ(parse_source("https://a.example/x/two%20words.csv?v=1")->file_name(),
              "two words.csv");
    EXPECT_EQ(parse_source("https://a.example/")->file_name(), "data");
    EXPECT_EQ(parse_source("https://a.example/..%2F..%2Fetc")->file_name(), "data");
    EXPECT_EQ(parse_source("https://a.example/x/..")->file_name(), "data");
}

TEST(Source, RedirectionsGoUpNotDown) {
    const Source from = *parse_source("https://a.example/x/y?sig=SECRET");
    EXPECT_EQ(redirected(from, "https://b.example/z")->url(), "https://b.example/z");
    EXPECT_EQ(redirected(from, "/z")->url(), "https://a.example/z");
    EXPECT_EQ(redirected(from, "z?u=https://c/")->url(), "https://a.example/x/z?u=https://c/");
    EXPECT_EQ(redirected(from, "//b.example/z")->url(), "https://b.example/z");
    for (const char* to : {"http://a.example/x", "ftp://a.example/x", "file:///etc/passwd", "",
                           "https://user@b/x", "wasbs://c@a/x"}) {
        const auto refused = redirected(from, to);
        ASSERT_FALSE(refused) << to;
        EXPECT_EQ(refused.error().message.find("SECRET"), std::string::npos);
    }
    EXPECT_TRUE(redirected(*parse_source("http://a.example/x"), "https://a.example/x"));
}

TEST(Source, FoldersAreOfStorage) {
    const auto folder = [](std::string_view text, std::string_view type) {
        return is_folder(*parse_source(text), type);
    };
    EXPECT_EQ(folder("https://a.example/x.csv", "uri_file").value_or(true), false);
    EXPECT_FALSE(folder("https://a.example/x/", "uri_file"));
    EXPECT_FALSE(folder("https://a.example/x", "uri_folder"));
    EXPECT_FALSE(folder("https://a.example/x/", "mltable"));
    EXPECT_EQ(folder("wasbs://c@a.blob.core.windows.net/x", "uri_folder").value_or(false), true);
    EXPECT_EQ(folder("wasbs://c@a.blob.core.windows.net/", "uri_folder").value_or(false), true);
    EXPECT_FALSE(folder("wasbs://c@a.blob.core.windows.net/", "uri_file"));
    EXPECT_EQ(folder("https://a.blob.core.windows.net/c/x/", "uri_folder").value_or(false), true);
    EXPECT_EQ(folder("wasbs://c@a.blob.core.windows.net/m.pkl", "custom_model").value_or(true),
              false);
    EXPECT_EQ(folder("wasbs://c@a.blob.core.windows.net/m/", "custom_model").value_or(false), true);
    const Source source = *parse_source("wasbs://c@a.blob.core.windows.net/x y/");
    EXPECT_EQ(listing_of(source, "m&1")->url(),
              "https://a.blob.core.windows.net/"
              "c?restype=container&comp=list&prefix=x%20y%2F&marker=m%261");
    EXPECT_EQ(blob_beside(source, "x y/a#b.csv").url(),
              "https://a.blob.core.windows.net/c/x%20y/a%23b.csv");
}

}  // namespace
}  // namespace turnout::fetch
