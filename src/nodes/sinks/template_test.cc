#include "nodes/sinks/template.h"

#include <gtest/gtest.h>

namespace headwater {
namespace {

std::string filled(std::string_view text) {
  Row row;
  row.device = "press-7";
  row.topic = "sensors/press-7/readings";
  std::string out = "before";
  const Result<RowTemplate> made = RowTemplate::parse(text, "hall-2");
  if (!made) {
    return "error: " + made.error().text();
  }
  made->fill(row, out);
  return out;
}

TEST(RowTemplate, FillsInWhatItKnows) {
  EXPECT_EQ(filled("alerts/${device_id}"), "alerts/press-7");
  EXPECT_EQ(filled("${edge_id}/${device}/x"), "hall-2/press-7/x");
  EXPECT_EQ(filled("${topic}"), "sensors/press-7/readings");
  EXPECT_EQ(filled("${device}${device}"), "press-7press-7");
}

TEST(RowTemplate, LeavesOtherTextAsItIs) {
  EXPECT_EQ(filled(""), "");
  EXPECT_EQ(filled("alerts"), "alerts");
  EXPECT_EQ(filled("$ {a} $"), "$ {a} $");
}

TEST(RowTemplate, NamesWhatItDoesNotKnow) {
  EXPECT_EQ(filled("a/${site}"),
            "error: unknown ${site}; there are ${device_id}, ${topic} and ${edge_id}");
  EXPECT_EQ(filled("a/${device_id"), "error: '${device_id' has no closing }");
}

}  // namespace
}  // namespace headwater
