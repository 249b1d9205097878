// Every object that a CSV text becomes is an object that simdjson reads, with one field a column;
// and what is no record is bytes of the text.
#include <simdjson.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/strings.h"
#include "compute/csv_json.h"

namespace {

void require(bool condition, const char* what) {
  if (!condition) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
  }
}

// Beyond 64 bits: JSON, but not to simdjson's DOM.
bool has_big_integer(std::string_view json) {
  std::size_t digits = 0;
  for (const char c : json) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    if (digits > 18) {
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace headwater;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  simdjson::dom::parser parser;
  for (const bool header : {true, false}) {
    CsvDocumentOptions options;
    options.csv = {.delimiter = ',', .max_record_bytes = 512, .max_fields = 32};
    options.max_records = 500;
    options.declared = Schema({{"a", Type::kString, ""}});
    if (!header) {
      options.columns = {"a", "b"};
    }
    std::size_t fields = header ? 0 : 2;
    const Status read =
        read_csv_document(text, options, [&](std::string_view piece, std::string_view reason) {
          if (!reason.empty()) {
            require(text.find(piece) != std::string_view::npos, "a bad record is not of the text");
            return;
          }
          simdjson::dom::object object;
          if (parser.parse(simdjson::padded_string(piece)).get_object().get(object) !=
              simdjson::SUCCESS) {
            require(has_big_integer(piece), "a record does not become a JSON object");
            return;
          }
          fields = fields == 0 ? object.size() : fields;
          require(object.size() == fields, "another number of fields than of columns");
        });
    require(read.ok() || !read.error().text().empty(), "a refusal without a text");
  }
  return 0;
}
