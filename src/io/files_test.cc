#include "io/files.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "io/fault_files.h"

namespace headwater::io {
namespace {

struct TempDir {
  TempDir() {
    std::string name = "/tmp/hw_files_XXXXXX";
    path = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string path;
};

std::string read_at(File& file, std::uint64_t offset, std::size_t count) {
  std::string bytes(count, '\0');
  bytes.resize(file.pread(offset, bytes.data(), count).value());
  return bytes;
}

TEST(RealFiles, WritesManyPartsAsOneRun) {
  TempDir dir;
  auto file = real_files().open(dir.path + "/f", OpenMode::kCreate).value();
  std::vector<std::string> owned;
  std::string whole;
  for (int i = 0; i < 200; ++i) {  // more than one pwritev takes here; some parts empty
    owned.push_back(i % 7 == 0 ? "" : fmt::format("part {} ", i));
    whole += owned.back();
  }
  const std::vector<std::string_view> parts(owned.begin(), owned.end());
  ASSERT_TRUE(file->pwrite(3, parts).ok());
  ASSERT_TRUE(file->sync().ok());
  EXPECT_EQ(read_at(*file, 3, 100'000), whole);
}

TEST(RealFiles, AllocatedBytesReadAsZero) {
  TempDir dir;
  auto file = real_files().open(dir.path + "/f", OpenMode::kCreate).value();
  ASSERT_TRUE(file->allocate(8192).ok());
  EXPECT_EQ(file->size().value(), 8192U);
  EXPECT_EQ(read_at(*file, 8000, 500), std::string(192, '\0'));
}

TEST(RealFiles, LockNamesTheHolder) {
  TempDir dir;
  auto held = real_files().lock(dir.path + "/LOCK").value();
  auto refused = real_files().lock(dir.path + "/LOCK");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code(), Code::kUnavailable);
  EXPECT_NE(refused.error().text().find(fmt::format("process {}", getpid())), std::string::npos);
  held.reset();
  EXPECT_TRUE(real_files().lock(dir.path + "/LOCK").ok());
}

TEST(RealFiles, MakesFoldersWithTheirParentsAndReplacesFilesWhole) {
  TempDir dir;
  ASSERT_TRUE(real_files().make_dir(dir.path + "/a/b/c").ok());
  ASSERT_TRUE(real_files().make_dir(dir.path + "/a/b/c").ok());
  ASSERT_TRUE(real_files().write_all(dir.path + "/a/b/c/x", "one").ok());
  ASSERT_TRUE(real_files().write_all(dir.path + "/a/b/c/x", "2").ok());
  EXPECT_EQ(real_files().read_all(dir.path + "/a/b/c/x").value(), "2");
  EXPECT_EQ(real_files().list(dir.path + "/a/b/c").value(), std::vector<std::string>{"x"});
  EXPECT_EQ(real_files().read_all(dir.path + "/none").error().code(), Code::kNotFound);
  EXPECT_EQ(real_files().make_dir(dir.path + "/a/b/c/x").error().code(), Code::kInvalid);
}

TEST(FaultFiles, APowerCutDropsWhatWasNotSynced) {
  FaultFiles disk(1);
  auto file = disk.open("d/f", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(0, std::string(2048, 'a')).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(disk.sync_dir("d").ok());
  ASSERT_TRUE(file->pwrite(512, std::string(1024, 'b')).ok());
  disk.restart(0.0);
  EXPECT_EQ(file->sync().error().code(), Code::kUnavailable) << "old handles are dead";
  EXPECT_EQ(disk.contents("d/f"), std::string(2048, 'a'));
}

TEST(FaultFiles, UnsyncedSectorsSurviveOneByOne) {
  bool torn = false;
  for (std::uint64_t seed = 0; seed < 20 && !torn; ++seed) {
    FaultFiles disk(seed);
    auto file = disk.open("d/f", OpenMode::kCreate).value();
    ASSERT_TRUE(file->pwrite(0, std::string(2048, 'a')).ok());
    ASSERT_TRUE(file->sync().ok());
    ASSERT_TRUE(disk.sync_dir("d").ok());
    ASSERT_TRUE(file->pwrite(0, std::string(2048, 'b')).ok());
    disk.restart(0.5);
    const std::string left = disk.contents("d/f");
    torn = left.find('a') != std::string::npos && left.find('b') != std::string::npos;
  }
  EXPECT_TRUE(torn);
}

TEST(FaultFiles, AFileWhoseFolderWasNotSyncedIsGone) {
  FaultFiles disk(1);
  auto file = disk.open("d/f", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(0, "x").ok());
  ASSERT_TRUE(file->sync().ok());
  disk.restart(0.0);
  EXPECT_FALSE(disk.open("d/f", OpenMode::kRead).ok());
}

TEST(FaultFiles, AFailedSyncIsNotMadeGoodByALaterOne) {
  FaultFiles disk(3);
  auto file = disk.open("d/f", OpenMode::kCreate).value();
  ASSERT_TRUE(file->pwrite(0, std::string(64 * 512, 'a')).ok());
  ASSERT_TRUE(file->sync().ok());
  ASSERT_TRUE(disk.sync_dir("d").ok());
  ASSERT_TRUE(file->pwrite(0, std::string(64 * 512, 'b')).ok());
  disk.fail(DiskCall::kSync, EIO);
  EXPECT_EQ(file->sync().error().code(), Code::kCorrupt);
  EXPECT_TRUE(file->sync().ok()) << "it says all is well";
  disk.restart(1.0);
  EXPECT_NE(disk.contents("d/f").find('a'), std::string::npos) << "but it lied";
}

TEST(FaultFiles, IsFullAtItsCapacityAndRunsAgainWithMore) {
  FaultFiles disk(1);
  disk.set_capacity(1000);
  auto file = disk.open("d/f", OpenMode::kCreate).value();
  EXPECT_EQ(file->allocate(1001).error().code(), Code::kExhausted);
  ASSERT_TRUE(file->allocate(1000).ok());
  EXPECT_EQ(disk.free_bytes("d").value(), 0U);
  disk.set_capacity(2000);
  EXPECT_TRUE(file->allocate(2000).ok());
}

TEST(FaultFiles, ThePowerGoesAtTheAskedChangeAndLocksFallWithIt) {
  FaultFiles disk(1);
  auto lock = disk.lock("d/LOCK").value();
  auto file = disk.open("d/f", OpenMode::kCreate).value();
  disk.power_off_after(2);
  EXPECT_TRUE(file->pwrite(0, "a").ok());
  EXPECT_FALSE(file->pwrite(1, "b").ok());
  EXPECT_FALSE(file->sync().ok());
  EXPECT_FALSE(disk.list("d").ok());
  disk.restart();
  EXPECT_TRUE(disk.lock("d/LOCK").ok());
}

}  // namespace
}  // namespace headwater::io
