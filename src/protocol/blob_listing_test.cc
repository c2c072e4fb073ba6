#include "protocol/blob_listing.h"

#include <gtest/gtest.h>

namespace turnout::protocol {
namespace {

TEST(BlobListing, NamesSizesAndTheNextPage) {
    const auto listing = parse_blob_listing(
        "\xEF\xBB\xBF<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults "
        "ServiceEndpoint=\"https://a/\" ContainerName=\"c\"><Prefix>x/</Prefix><Blobs>"
        "<Blob><Name>x/a &amp; "
        "b&#233;&#x20;.csv</Name><Properties><Etag>0x1</Etag><Content-Length>12</Content-Length></"
        "Properties></Blob>"
        "<BlobPrefix><Name>x/y/</Name></BlobPrefix>"
        "<Blob><Name>x/c</Name><Properties><Content-Length>0</Content-Length><Etag>\"0x2\"</Etag></"
        "Properties></Blob>"
        "</Blobs><NextMarker>2!40!x</NextMarker></EnumerationResults>");
    ASSERT_TRUE(listing) << listing.error().message;
    ASSERT_EQ(listing->blobs.size(), 2u);
    EXPECT_EQ(listing->blobs[0].name, "x/a & bé .csv");
    EXPECT_EQ(listing->blobs[0].size, 12u);
    EXPECT_EQ(listing->blobs[0].etag, "0x1");
    EXPECT_EQ(listing->blobs[1].etag, "\"0x2\"");
    EXPECT_EQ(listing->next_marker, "2!40!x");
}

TEST(BlobListing, WhatIsNoneIsRefused) {
    EXPECT_FALSE(parse_blob_listing(""));
    EXPECT_FALSE(parse_blob_listing("<html>sign in</html>"));
    EXPECT_FALSE(parse_blob_listing("<EnumerationResults><Blobs><Blob><Name>x</Name>"));
    EXPECT_FALSE(parse_blob_listing(
        "<EnumerationResults><Blobs><Blob><Name>x</Name></Blob></Blobs></EnumerationResults>"));
    EXPECT_FALSE(
        parse_blob_listing("<EnumerationResults><Blob><Name></Name><Content-Length>1</"
                           "Content-Length></Blob></EnumerationResults>"));
    EXPECT_TRUE(
        parse_blob_listing("<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>")
            ->blobs.empty());
}

}  // namespace
}  // namespace turnout::protocol
