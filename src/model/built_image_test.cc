#include "model/built_image.h"

#include <gtest/gtest.h>

namespace turnout {
namespace {

TEST(BuiltImage, IsReadAsItIsWritten) {
    const BuiltImage image{"My-env.2", "2024-01@a", "0123abcd"};
    EXPECT_EQ(name_of(image), "turnout.build/My-env.2/2024-01@a@0123abcd");
    EXPECT_EQ(read_built_image(name_of(image)), image);
    EXPECT_EQ(shown_name(image), "My-env.2:2024-01@a");
}

TEST(BuiltImage, OtherNamesAreOfOtherImages) {
    for (const char* const name :
         {"", "python:3.11", "turnout.build/", "turnout.build/a", "turnout.build/a/1",
          "turnout.build//1@ab", "turnout.build/a/@ab", "turnout.build/a/1@", "turnout.build/a/1@x",
          "turnout.build/a@b/1", "turnout.built/a/1@ab"})
        EXPECT_FALSE(read_built_image(name)) << name;
}

}  // namespace
}  // namespace turnout
