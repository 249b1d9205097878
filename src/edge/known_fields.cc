#include "edge/known_fields.h"

#include <filesystem>

#include "base/bytes.h"
#include "compute/json_decode.h"
#include "store/fsck.h"

namespace headwater {
namespace {

constexpr std::size_t kMaxFields = 4096;  // the bound of max_fields

std::vector<KnownField> fields_of(const Schema& declared, const std::string& types) {
  JsonDecoder decoder({.schema = declared, .max_fields = kMaxFields});
  if (!types.empty()) {
    ByteReader reader(types);
    (void)decoder.restore(reader);
  }
  std::vector<KnownField> fields;
  for (const Field& field : decoder.learned().fields()) {
    fields.push_back({field.name, field.type, fields.size() < declared.size()});
  }
  return fields;
}

}  // namespace

Result<std::vector<SourceFields>> known_fields(const Plan& plan) {
  const std::string dir = plan.config().edge.data_dir.text + "/spool";
  std::error_code ignored;
  if (!std::filesystem::is_directory(dir, ignored)) {
    return Error::not_found("no spool in '{}'", plan.config().edge.data_dir.text);
  }
  const std::unique_ptr<SpoolView> view =
      HW_TRY(SpoolView::open(io::real_files(), dir).with("open spool {}", dir));
  std::vector<SourceFields> sources;
  for (const auto& [name, pipeline] : plan.config().pipelines) {
    for (const std::string& source : pipeline.from) {
      config::Diagnostics reported;  // when the plan was made
      const SourceSet set = plan.make_source(source, {}, reported);
      sources.push_back({source, fields_of(set.declared, view->state("decode/" + name + "/" +
                                                                     source + "/types"))});
    }
  }
  return sources;
}

}  // namespace headwater
