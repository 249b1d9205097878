// A text that split_json_array() takes is its elements: joined again they split the same way; and
// every array that simdjson's DOM accepts is taken, with as many elements.
#include <simdjson.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "compute/json_array.h"

namespace {

void require(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace headwater;
  constexpr std::size_t kMax = 200;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  std::vector<std::string_view> elements;
  const bool taken = split_json_array(text, kMax, elements).ok();
  simdjson::dom::parser parser;
  simdjson::dom::array array;
  if (parser.parse(simdjson::padded_string(text)).get_array().get(array) == simdjson::SUCCESS) {
    const auto count = static_cast<std::size_t>(std::distance(array.begin(), array.end()));
    require(taken == (count <= kMax), "an array that is JSON is refused, or too many are taken");
    require(!taken || elements.size() == count, "another number of elements than simdjson finds");
  }
  simdjson::dom::object object;
  if (parser.parse(simdjson::padded_string(text)).get_object().get(object) == simdjson::SUCCESS) {
    std::vector<std::string_view> whole;
    require(split_json_document(text, kMax, whole).ok() && whole.size() == 1,
            "an object that is JSON is refused");
  }
  if (!taken) {
    require(elements.empty(), "elements of an array that is refused");
    return 0;
  }
  std::string joined = "[";
  for (std::size_t i = 0; i < elements.size(); ++i) {
    require(elements[i].data() >= text.data() &&
                elements[i].data() + elements[i].size() <= text.data() + text.size(),
            "an element outside the text");
    joined += i == 0 ? "" : ",";
    joined += elements[i];
  }
  joined += "]";
  std::vector<std::string_view> again;
  require(split_json_array(joined, kMax, again).ok() && again == elements,
          "the elements do not split again");
  require(split_json_document(text, kMax, again).ok() && again == elements,
          "a document of an array is its elements");
  return 0;
}
