// docs/reference/metrics.md lists every metric of the listeners and the process, word for word.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "base/strings.h"
#include "protocol/http/server.h"
#include "protocol/http/server_metrics.h"
#include "telemetry/process.h"

namespace headwater::api {
namespace {

TEST(MetricsReference, HasARowForEachMetric) {
  std::ifstream file(HW_SOURCE_DIR "/docs/reference/metrics.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(page.empty());
  telemetry::Registry registry;
  const auto server = http::Server::open({}, http::Router{}).value();
  const auto process = telemetry::register_process_metrics(registry);
  const auto listener = http::register_server_metrics(registry, *server);
  const auto table = registry.markdown();
  int rows = 0;
  for (const auto row : split(table, '\n')) {
    if (row.starts_with("| `")) {
      EXPECT_THAT(page, testing::HasSubstr(std::string(row) + "\n"));
      ++rows;
    }
  }
  EXPECT_EQ(rows, 15);
}

}  // namespace
}  // namespace headwater::api
