#include "io/posix/files.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <fstream>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace turnout {
namespace {

class FilesTest : public testing::Test {
protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "io-files-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root = name;
    }
    void TearDown() override { EXPECT_TRUE(remove_tree(root)); }
    static mode_t mode_of(const std::string& path) {
        struct stat info{};
        EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
        return info.st_mode & 07777;
    }
    std::string root;
};

TEST_F(FilesTest, WritesAtomically) {
    const std::string path = root + "/a";
    ASSERT_TRUE(write_file_atomically(path, "one", 0600));
    EXPECT_EQ(mode_of(path), 0600u);
    EXPECT_EQ(*read_file(path), "one");
    ASSERT_TRUE(write_file_atomically(path, std::string(100'000, 'x') + '\0', 0644));
    EXPECT_EQ(read_file(path)->size(), 100'001u);
    EXPECT_EQ(mode_of(path), 0644u);
    EXPECT_EQ(list_directory(root)->size(), 1u) << "no temporary file stays";
    ASSERT_TRUE(write_file_atomically(path, ""));
    EXPECT_EQ(*read_file(path), "");
    // A name that a folder has: nothing of the attempt stays.
    ASSERT_TRUE(make_directories(root + "/b/c"));
    EXPECT_FALSE(write_file_atomically(root + "/b", "x"));
    EXPECT_EQ(list_directory(root)->size(), 2u);
}

TEST_F(FilesTest, ErrorsNameThePath) {
    const auto missing = read_file(root + "/missing");
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::NotFound);
    EXPECT_NE(missing.error().message.find(root + "/missing"), std::string::npos);
    EXPECT_NE(missing.error().message.find("No such file"), std::string::npos);
    ASSERT_TRUE(write_file_atomically(root + "/big", std::string(100, 'x')));
    EXPECT_EQ(read_file(root + "/big", 99).error().code, Code::ResourceExhausted);
    EXPECT_EQ(read_file(root + "/big", 100)->size(), 100u);
    EXPECT_FALSE(read_file("/proc/self/stat")->empty()) << "a file that says it is empty";
}

TEST_F(FilesTest, Appends) {
    const std::string path = root + "/log";
    {
        auto file = AppendFile::open(path);
        ASSERT_TRUE(file);
        ASSERT_TRUE(file->append("ab"));
        ASSERT_TRUE(file->append("cd"));
        ASSERT_TRUE(file->sync());
        EXPECT_EQ(file->size(), 4u);
    }
    auto again = AppendFile::open(path);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->size(), 4u);
    ASSERT_TRUE(again->append("ef"));
    EXPECT_EQ(*read_file(path), "abcdef");
}

TEST_F(FilesTest, MakesAndRemovesTrees) {
    ASSERT_TRUE(make_directories(root + "/x/y/z", 0700));
    ASSERT_TRUE(make_directories(root + "/x/y/z"));
    EXPECT_EQ(mode_of(root + "/x/y"), 0700u);
    ASSERT_TRUE(write_file_atomically(root + "/x/file", "1"));
    EXPECT_FALSE(make_directories(root + "/x/file"));
    EXPECT_FALSE(make_directories(root + "/x/file/below"));
    // Links are removed, not followed.
    ASSERT_TRUE(make_directories(root + "/keep"));
    ASSERT_TRUE(write_file_atomically(root + "/keep/me", "1"));
    ASSERT_EQ(::symlink((root + "/keep").c_str(), (root + "/x/y/link").c_str()), 0);
    ASSERT_EQ(::chmod((root + "/x/y/z").c_str(), 0), 0);
    ASSERT_TRUE(remove_tree(root + "/x"));
    EXPECT_FALSE(std::filesystem::exists(root + "/x"));
    EXPECT_TRUE(std::filesystem::exists(root + "/keep/me"));
    ASSERT_EQ(::symlink("keep", (root + "/link").c_str()), 0);
    ASSERT_TRUE(remove_tree(root + "/link"));
    EXPECT_TRUE(std::filesystem::exists(root + "/keep/me"));
    EXPECT_TRUE(remove_tree(root + "/never/was"));
}

TEST_F(FilesTest, RemovesDeepTrees) {
    ASSERT_TRUE(make_directories(root + "/deep"));
    Fd at = std::move(*open_directory(root + "/deep"));
    for (int i = 0; i < 3000; ++i) {
        ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0) << i;
        ASSERT_TRUE(Fd(::openat(at.get(), "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644)));
        at = Fd(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ASSERT_TRUE(at) << i;
    }
    const auto removed = remove_tree(root + "/deep");
    EXPECT_TRUE(removed) << removed.error().message;
    EXPECT_FALSE(std::filesystem::exists(root + "/deep"));
}

TEST_F(FilesTest, OpensNothingOutside) {
    ASSERT_TRUE(make_directories(root + "/in/sub"));
    ASSERT_TRUE(write_file_atomically(root + "/in/sub/file", "inside"));
    ASSERT_TRUE(write_file_atomically(root + "/secret", "outside"));
    ASSERT_EQ(::symlink("../secret", (root + "/in/up").c_str()), 0);
    ASSERT_EQ(::symlink((root + "/secret").c_str(), (root + "/in/absolute").c_str()), 0);
    ASSERT_EQ(::symlink("..", (root + "/in/sub/parent").c_str()), 0);
    ASSERT_EQ(::symlink("/proc/self/root", (root + "/in/magic").c_str()), 0);
    ASSERT_EQ(::symlink("loop", (root + "/in/loop").c_str()), 0);
    const Fd in = std::move(*open_directory(root + "/in"));

    for (const std::string path : {"sub/file", "./sub/file", "sub//file"}) {
        const auto fd = open_beneath(in.get(), path, O_RDONLY);
        ASSERT_TRUE(fd) << path << fd.error().message;
    }
    const std::string hostile[] = {"",
                                   "/etc/passwd",
                                   root + "/secret",
                                   "../secret",
                                   "sub/../../secret",
                                   "sub/../sub/file",
                                   "..",
                                   "sub/..",
                                   "up",
                                   "absolute",
                                   "sub/parent/../secret",
                                   "sub/parent/up",
                                   "magic/etc/passwd",
                                   "loop",
                                   "sub/file/",
                                   "sub/file/x",
                                   "missing",
                                   std::string("sub/file\0x", 10),
                                   std::string(5000, 'a')};
    for (const std::string& path : hostile) {
        EXPECT_FALSE(open_beneath(in.get(), path, O_RDONLY)) << path;
        EXPECT_FALSE(open_beneath(in.get(), path, O_WRONLY)) << path;
    }
    EXPECT_FALSE(open_beneath(in.get(), "up", O_WRONLY | O_CREAT | O_TRUNC));
    EXPECT_EQ(*read_file(root + "/secret"), "outside");
    const auto made = open_beneath(in.get(), "sub/new", O_WRONLY | O_CREAT | O_EXCL, 0640);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(mode_of(root + "/in/sub/new") & 0700, 0600u);

    EXPECT_TRUE(make_directories_beneath(in.get(), "sub/a/b/c"));
    EXPECT_TRUE(make_directories_beneath(in.get(), "sub/a/b/c"));
    EXPECT_TRUE(std::filesystem::is_directory(root + "/in/sub/a/b/c"));
    for (const std::string path :
         {"../out", "/tmp/out", "sub/parent/out", "magic/tmp/out", "sub/file/x"})
        EXPECT_FALSE(make_directories_beneath(in.get(), path)) << path;
    EXPECT_FALSE(std::filesystem::exists(root + "/in/out"));
}

TEST_F(FilesTest, ListsSorted) {
    for (const char* name : {"b", "a", "c"})
        ASSERT_TRUE(write_file_atomically(root + "/" + name, name));
    ASSERT_TRUE(make_directories(root + "/d"));
    ASSERT_EQ(::symlink("nowhere", (root + "/e").c_str()), 0);
    const auto entries = list_directory(root);
    ASSERT_TRUE(entries);
    ASSERT_EQ(entries->size(), 5u);
    EXPECT_EQ((*entries)[0].name, "a");
    EXPECT_EQ((*entries)[0].size, 1u);
    EXPECT_EQ((*entries)[3].kind, DirectoryEntry::Kind::Directory);
    EXPECT_EQ((*entries)[4].kind, DirectoryEntry::Kind::Link);
    EXPECT_FALSE(list_directory(root + "/a"));
}

TEST_F(FilesTest, LocksOnce) {
    {
        const auto lock = lock_file(root + "/lock");
        ASSERT_TRUE(lock);
        const auto second = lock_file(root + "/lock");
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().reason, "Locked");
    }
    EXPECT_TRUE(lock_file(root + "/lock"));
    EXPECT_GT(*free_space(root), 0u);
}

// In a mount namespace of its own, as a job of root, or of a user in a namespace of his own, could.
bool remove_with_mounts(const std::string& root) {
    if (::unshare(CLONE_NEWNS) != 0) {
        const std::string map = "0 " + std::to_string(::geteuid()) + " 1";
        if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        std::ofstream("/proc/self/uid_map") << map;
    }
    const auto bind = [](const std::string& from, const std::string& to) {
        return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) == 0;
    };
    return ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           bind(root + "/mine", root + "/job/folder") &&
           bind(root + "/mine", root + "/job/folder") &&
           bind(root + "/mine/thesis", root + "/job/file") &&
           ::mount("tmpfs", (root + "/job/deep/tmpfs").c_str(), "tmpfs", 0, nullptr) == 0 &&
           bind(root + "/mine", root + "/whole") && remove_tree(root + "/job").has_value() &&
           remove_tree(root + "/whole").has_value();
}

TEST_F(FilesTest, RemovingNeverReachesIntoAMount) {
    for (const char* folder : {"/mine", "/job/folder", "/job/deep/tmpfs", "/whole"})
        ASSERT_TRUE(make_directories(root + folder));
    for (const char* file : {"/mine/thesis", "/job/file", "/job/own", "/job/deep/own"})
        ASSERT_TRUE(write_file_atomically(root + file, "years of work"));
    const pid_t child = ::fork();
    if (child == 0) ::_exit(remove_with_mounts(root) ? 0 : 1);
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(*read_file(root + "/mine/thesis"), "years of work");
    struct stat info{};
    for (const char* gone : {"/job", "/whole"})
        EXPECT_NE(::stat((root + gone).c_str(), &info), 0) << gone;
}

}  // namespace
}  // namespace turnout
