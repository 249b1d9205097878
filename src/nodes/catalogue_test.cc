#include "nodes/catalogue.h"

#include <gmock/gmock.h>

#include <set>

namespace headwater {
namespace {

using testing::HasSubstr;

template <class Kinds>
void expect_names_and_documents(const Kinds& kinds) {
  std::set<std::string_view> names;
  for (const auto& kind : kinds) {
    EXPECT_TRUE(names.insert(kind.kind).second) << kind.kind << " comes twice";
    const config::SchemaView& schema = kind.schema();
    EXPECT_EQ(schema.name, kind.kind) << "the name in the reference is the one in configs";
    EXPECT_TRUE(schema.doc.ends_with('.')) << kind.kind;
  }
}

TEST(Catalogue, EachKindHasOneNameAndADescription) {
  expect_names_and_documents(source_kinds());
  expect_names_and_documents(stage_kinds());
  expect_names_and_documents(sink_kinds());
}

TEST(Catalogue, FindsWhatThereIs) {
  config::Diagnostics diagnostics;
  for (const SourceKind& kind : source_kinds()) {
    EXPECT_EQ(find_source_kind(kind.kind, {}, diagnostics), &kind);
  }
  for (const StageKind& kind : stage_kinds()) {
    EXPECT_EQ(find_stage_kind(kind.kind, {}, diagnostics), &kind);
  }
  for (const SinkKind& kind : sink_kinds()) {
    EXPECT_EQ(find_sink_kind(kind.kind, {}, diagnostics), &kind);
  }
  EXPECT_TRUE(diagnostics.ok());
}

TEST(Catalogue, AnUnknownKindIsRefusedWithTheNearestName) {
  config::Diagnostics diagnostics;
  EXPECT_EQ(find_source_kind("mqtt_listn", {}, diagnostics), nullptr);
  EXPECT_EQ(find_stage_kind("filtre", {}, diagnostics), nullptr);
  EXPECT_EQ(find_sink_kind("stdot", {}, diagnostics), nullptr);
  EXPECT_THAT(diagnostics.text(),
              HasSubstr("no source of kind 'mqtt_listn', did you mean 'mqtt_listen'?"));
  EXPECT_THAT(diagnostics.text(), HasSubstr("no step of kind 'filtre', did you mean 'filter'?"));
  EXPECT_THAT(diagnostics.text(), HasSubstr("no sink of kind 'stdot', did you mean 'stdout'?"));
  EXPECT_EQ(diagnostics.error_count(), 3U);
}

TEST(Catalogue, WhereNoNameIsNearAllAreNamed) {
  config::Diagnostics diagnostics;
  EXPECT_EQ(find_sink_kind("carrier_pigeon", {}, diagnostics), nullptr);
  EXPECT_THAT(diagnostics.text(), HasSubstr("there are mqtt, "));
}

TEST(Catalogue, OnlyFiltersStandInFrontOfTheStore) {
  for (const StageKind& kind : stage_kinds()) {
    EXPECT_EQ(kind.filters, kind.kind == "filter") << kind.kind;
  }
}

}  // namespace
}  // namespace headwater
