#include "nodes/sources/file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <set>

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
  void TearDown() override { stop(); }

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
    if (!std::filesystem::exists(path()) && read == FileRead::kOnce) {
      write("");
    }
    stop();
    FileSourceOptions options;
    options.path.text = path();
    options.max_line.bytes = max_line;
    options.read = read;
    options.reading.format = format;
    options.poll = std::chrono::milliseconds(1);
    config::Diagnostics diagnostics;
    SourceSet set = make_file_source(options, config::Node(), on({loop.get()}), diagnostics);
    ASSERT_TRUE(set.good) << diagnostics.text();
    source = std::move(set.sources.front());
    checkpointed = dynamic_cast<Checkpointed*>(source.get());
    ASSERT_TRUE(checkpointed->restore(state).ok());
    started = source->start(*loop);
  }
  void stop() {
    if (source != nullptr && started.ok()) {
      source->close();
    }
    source.reset();
  }
  // Follows the file from here on.
  void follow() {
    read = FileRead::kFollow;
    start();
    ASSERT_TRUE(started.ok()) << started.error().text();
  }
  // What comes until there are `count`, and nothing more in a few looks.
  Texts wait_for(std::size_t count) {
    Texts all;
    const MonoTime until = io::mono_now() + std::chrono::seconds(20);
    std::size_t quiet = 0;
    while ((all.size() < count || quiet < 10) && io::mono_now() < until) {
      loop->run_once(std::chrono::milliseconds(20));
      const Texts some = take();
      EXPECT_NE(more, More::kEnd);
      all.insert(all.end(), some.begin(), some.end());
      quiet = all.size() < count ? 0 : quiet + 1;
    }
    EXPECT_EQ(all.size(), count);
    return all;
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
      if ((row.flags & kRowUndecoded) != 0) {
        notes.emplace_back(row.note);
      }
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
  Texts notes;
  FileRead read = FileRead::kOnce;
  ReadingFormat format = ReadingFormat::kJson;
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

TEST_F(FileSource, AFileThatBeginsOtherwiseIsRefusedAtStart) {
  write("one\ntwo\n");
  take_all();
  save();
  std::ofstream(path(), std::ios::binary) << "ONE\ntwo\nthree\n";
  start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().text(), HasSubstr("begins otherwise"));
}

TEST_F(FileSource, AnOffsetAloneIsEnoughToGoOn) {
  write("one\ntwo\n");
  std::string blob;
  ByteWriter(blob).put_varint(4);
  state.put("offset", blob);
  start();
  EXPECT_THAT(take_all(), ElementsAre("two"));
  save();
  follow();
  write("three\n");
  EXPECT_THAT(wait_for(1), ElementsAre("three"));
}

TEST_F(FileSource, CsvRecordsBecomeObjects) {
  format = ReadingFormat::kCsv;
  write("device_id,v,note\r\nm1,1,\"a\nb, \"\"c\"\"\"\nm2\nm3,3,\n");
  start();
  EXPECT_THAT(take(1), ElementsAre(R"({"device_id":"m1","v":1,"note":"a\nb, \"c\""})"));
  save();
  start();  // the header is read again, lines go on
  EXPECT_THAT(take_all(), ElementsAre("m2", R"({"device_id":"m3","v":3,"note":null})"));
  EXPECT_THAT(notes, ElementsAre("line 4: 1 fields, there are 3 columns"));
}

TEST_F(FileSource, ACsvFileWithoutAHeaderThatCanBeReadSaysSo) {
  format = ReadingFormat::kCsv;
  write("a,,c\n1,2,3\n");
  start();
  ASSERT_FALSE(started.ok());
  EXPECT_THAT(started.error().text(), HasSubstr("header: column 2 has no name"));
  follow();
  for (int i = 0; i < 2; ++i) {
    Batch batch;
    const Result<More> taken = source->take(10, batch);
    ASSERT_FALSE(taken.ok());
    EXPECT_THAT(taken.error().text(), HasSubstr("header: column 2 has no name"));
    EXPECT_EQ(batch.rows(), 0U);
  }
}

TEST_F(FileSource, FollowsAsLinesAreAdded) {
  follow();
  write("one\nhal");
  EXPECT_THAT(wait_for(1), ElementsAre("one"));
  write("f\n");
  EXPECT_THAT(wait_for(1), ElementsAre("half"));
  save();
  write("three\n");
  follow();
  EXPECT_THAT(wait_for(1), ElementsAre("three"));
}

TEST_F(FileSource, FollowingAFileThatIsMissingWaitsForIt) {
  std::filesystem::remove(path());
  follow();
  EXPECT_THAT(wait_for(0), IsEmpty());
  write("one\n");
  EXPECT_THAT(wait_for(1), ElementsAre("one"));
}

TEST_F(FileSource, GoesOnInTheNewFileAfterARotation) {
  follow();
  write("one\n");
  EXPECT_THAT(wait_for(1), ElementsAre("one"));
  write("two\nlast");
  std::filesystem::rename(path(), path() + ".1");
  EXPECT_THAT(wait_for(1), ElementsAre("two")) << "a name that is gone ends nothing";
  std::ofstream(path() + ".1", std::ios::app) << " line";
  write("one\n");
  EXPECT_THAT(wait_for(2), ElementsAre("last line", "one"));
  EXPECT_NE(identities[0], identities[3]) << "the same place in another file";
  write("two\n");
  EXPECT_THAT(wait_for(1), ElementsAre("two"));
}

TEST_F(FileSource, ARotationWhileItIsAwayLosesNothing) {
  follow();
  write("one\n");
  EXPECT_THAT(wait_for(1), ElementsAre("one"));
  save();
  stop();
  write("two\nthree\n");
  std::filesystem::rename(path(), path() + ".1");
  write("one\nfour\n");
  follow();
  EXPECT_THAT(wait_for(4), ElementsAre("two", "three", "one", "four"));
  save();
  follow();
  EXPECT_THAT(wait_for(0), IsEmpty());
}

TEST_F(FileSource, AFileThatWasCutIsReadFromItsStart) {
  follow();
  write("one\ntwo\n");
  EXPECT_THAT(wait_for(2), ElementsAre("one", "two"));
  std::filesystem::resize_file(path(), 0);
  EXPECT_THAT(wait_for(0), IsEmpty());
  write("new\n");
  EXPECT_THAT(wait_for(1), ElementsAre("new"));
  save();
  std::ofstream(path(), std::ios::binary) << "longer than before\n";  // cut and filled at once
  EXPECT_THAT(wait_for(1), ElementsAre("longer than before"));
  save();
  stop();
  std::ofstream(path(), std::ios::binary) << "cut while away, and longer too\n";
  follow();
  EXPECT_THAT(wait_for(1), ElementsAre("cut while away, and longer too"));
  EXPECT_EQ(std::set<Id128>(identities.begin(), identities.end()).size(), identities.size());
}

TEST_F(FileSource, EachRotatedCsvFileHasItsOwnHeader) {
  format = ReadingFormat::kCsv;
  follow();
  write("a,b\n1,2\n");
  EXPECT_THAT(wait_for(1), ElementsAre(R"({"a":1,"b":2})"));
  std::filesystem::rename(path(), path() + ".1");
  write("b,a\n1,2\n");
  EXPECT_THAT(wait_for(1), ElementsAre(R"({"b":1,"a":2})"));
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
