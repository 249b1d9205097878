#include "nodes/sources/file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "nodes/testing.h"

namespace headwater {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Texts = std::vector<std::string>;

class FileSource : public testing::Test {
 protected:
  void SetUp() override { start(); }

  static SourceContext on(std::vector<io::Loop*> loops) {
    SourceContext context;
    context.name = "in";
    context.loops = std::move(loops);
    return context;
  }
  std::string path() const { return folder.path("readings.jsonl"); }
  void write(std::string_view text) {
    std::ofstream(path(), std::ios::binary | std::ios::app) << text;
  }
  // A fresh source, with what was saved; the file may not be there before.
  void start() {
    if (!std::filesystem::exists(path())) {
      write("");
    }
    FileSourceOptions options;
    options.path.text = path();
    options.max_line.bytes = max_line;
    config::Diagnostics diagnostics;
    SourceSet set = make_file_source(options, config::Node(), on({loop.get()}), diagnostics);
    ASSERT_TRUE(set.good) << diagnostics.text();
    source = std::move(set.sources.front());
    checkpointed = dynamic_cast<Checkpointed*>(source.get());
    ASSERT_TRUE(checkpointed->restore(state).ok());
    started = source->start(*loop);
  }
  void save() {
    std::vector<std::pair<Partition, Position>> upto;
    checkpointed->save(state, upto);
    EXPECT_THAT(upto, IsEmpty());
  }
  // Payloads of one take.
  Texts take(std::size_t room = 4096) {
    Batch batch;
    const Result<More> taken = source->take(room, batch);
    EXPECT_TRUE(taken.ok()) << (taken ? "" : taken.error().text());
    more = taken ? *taken : More::kNone;
    Texts payloads;
    for (const Row& row : batch.all_rows()) {
      payloads.emplace_back(row.payload);
      positions.push_back(row.position);
      identities.push_back(row.identity);
      EXPECT_EQ(row.topic, path());
    }
    return payloads;
  }
  Texts take_all() {
    Texts all;
    for (int i = 0; i < 10'000; ++i) {
      const Texts some = take();
      all.insert(all.end(), some.begin(), some.end());
      if (more == More::kEnd) {
        return all;
      }
    }
    ADD_FAILURE() << "no end";
    return all;
  }

  TempFolder folder;
  std::size_t max_line = 1 << 20;
  std::unique_ptr<io::Loop> loop = io::Loop::create().value();
  MapState state;
  std::unique_ptr<Source> source;
  Checkpointed* checkpointed = nullptr;
  Status started;
  More more = More::kNone;
  std::vector<Position> positions;
  std::vector<Id128> identities;
};

TEST_F(FileSource, GivesEachLineOnceAndThenEnds) {
  write("one\ntwo\nthree\n");
  EXPECT_THAT(take(2), ElementsAre("one", "two"));
  EXPECT_EQ(more, More::kYes);
  EXPECT_THAT(take_all(), ElementsAre("three"));
  EXPECT_THAT(take(), IsEmpty());
  EXPECT_EQ(more, More::kEnd);
  EXPECT_THAT(positions, ElementsAre(4, 8, 14));
}

TEST_F(FileSource, TheLastLineNeedsNoNewline) {
  write("one\ntwo");
  EXPECT_THAT(take_all(), ElementsAre("one", "two"));
  EXPECT_THAT(positions, ElementsAre(4, 7));
}

TEST_F(FileSource, LineEndsOfWindowsAndEmptyLinesAreNoReadings) {
  write("\r\none\r\n\n\n\r\ntwo\n\n");
  EXPECT_THAT(take_all(), ElementsAre("one", "two"));
}

TEST_F(FileSource, AnEmptyFileEndsAtOnce) {
  EXPECT_THAT(take(), IsEmpty());
  EXPECT_EQ(more, More::kEnd);
}

TEST_F(FileSource, GoesOnAtItsOffset) {
  write("one\ntwo\nthree\n");
  take(1);
  save();
  take(1);  // not saved: comes again
  start();
  EXPECT_THAT(take_all(), ElementsAre("two", "three"));
  save();
  start();
  EXPECT_THAT(take_all(), IsEmpty());
  write("four\n");
  start();
  EXPECT_THAT(take_all(), ElementsAre("four"));
}

TEST_F(FileSource, ALineHasTheSameIdentityWheneverItIsRead) {
  write("same\nsame\n");
  take_all();
  start();
  take_all();
  ASSERT_EQ(identities.size(), 4U);
  EXPECT_NE(identities[0], identities[1]);
  EXPECT_EQ(identities[0], identities[2]);
  EXPECT_EQ(identities[1], identities[3]);
}

TEST_F(FileSource, OfALongLineTheFirstBytesAreTakenAndTheNextLineIsWhole) {
  max_line = 256;
  start();
  const std::string exact(256, 'e');
  write(std::string(300, 'a') + "\n" + exact + "\nnext\n" + std::string(1'000'000, 'b') +
        "\nlast\n" + std::string(700'000, 'c'));
  EXPECT_THAT(take_all(), ElementsAre(std::string(256, 'a'), exact, "next", std::string(256, 'b'),
                                      "last", std::string(256, 'c')));
  EXPECT_EQ(positions.back(), std::filesystem::file_size(path()));
  EXPECT_EQ(positions[4], 301U + 257 + 5 + 1'000'001 + 5);
}

TEST_F(FileSource, ReadsNoMoreThanAFewMegabytesInOneTake) {
  max_line = 256;
  start();
  {
    std::ofstream file(path(), std::ios::binary);
    const std::string part(1 << 20, 'x');
    for (int i = 0; i < 10; ++i) {
      file << part;
    }
    file << "\nnext\n";
  }
  EXPECT_THAT(take(), IsEmpty());
  EXPECT_EQ(more, More::kYes);
  EXPECT_THAT(take_all(), ElementsAre(std::string(256, 'x'), "next"));
}

TEST_F(FileSource, OneTakeFitsTheSmallestFrame) {
  std::string text;
  Texts lines;
  for (int i = 0; i < 5000; ++i) {
    lines.push_back(fmt::format("{{\"n\": {}}}", i));
    text += lines.back() + "\n";
  }
  write(text);
  const std::size_t first = take().size();
  EXPECT_LT(first, 1000U);
  EXPECT_GT(first, 100U);
  EXPECT_EQ(first + take_all().size(), lines.size());
}

TEST_F(FileSource, TakesNothingWhilePausedOrWithoutRoom) {
  write("one\n");
  EXPECT_THAT(take(0), IsEmpty());
  EXPECT_EQ(more, More::kNone);
  source->pause(true);
  EXPECT_THAT(take(), IsEmpty());
  source->pause(false);
  EXPECT_THAT(take_all(), ElementsAre("one"));
}

TEST_F(FileSource, AFileThatShrankIsRefusedAtStart) {
  write("one\ntwo\n");
  take_all();
  save();
  std::filesystem::resize_file(path(), 3);
  start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().code(), Code::kInvalid);
  EXPECT_THAT(started.error().text(), HasSubstr("is 3 bytes, but was read up to byte 8"));
}

TEST_F(FileSource, AFileThatIsMissingIsNamed) {
  std::filesystem::remove(path());
  FileSourceOptions options;
  options.path.text = path();
  config::Diagnostics diagnostics;
  SourceSet set = make_file_source(options, config::Node(), on({loop.get()}), diagnostics);
  const Status missing = set.sources.front()->start(*loop);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_THAT(missing.error().text(), HasSubstr("readings.jsonl"));
}

TEST_F(FileSource, OneWorkerHasTheFile) {
  FileSourceOptions options;
  options.path.text = path();
  config::Diagnostics diagnostics;
  const auto other = io::Loop::create().value();
  SourceSet set = make_file_source(
      options, config::Node(),
      {.edge_id = "edge", .name = "in", .loops = {loop.get(), other.get(), loop.get()}},
      diagnostics);
  EXPECT_EQ(std::count(set.sources.begin(), set.sources.end(), nullptr), 2);
}

}  // namespace
}  // namespace headwater
