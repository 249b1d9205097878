#include "nodes/sinks/alert_name.h"

#include <nlohmann/json.hpp>

namespace headwater {
namespace {

// Ends the parse (returns false) as soon as both are known, or something nested begins.
class NameReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  AlertName name;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t& text) override {
    if (key_ == "id") {
      name.id = std::move(text);
    } else if (key_ == "event") {
      name.event = std::move(text);
    }
    return name.id.empty() || name.event.empty();
  }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return ++depth_ == 1; }
  bool key(string_t& text) override {
    key_ = std::move(text);
    return true;
  }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return false; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  std::string key_;
  int depth_ = 0;
};

}  // namespace

AlertName alert_name(std::string_view json) {
  NameReader reader;
  (void)nlohmann::json::sax_parse(json, &reader);
  return std::move(reader.name);
}

}  // namespace headwater
