// Sha256: a running SHA-256 of the workbench's files and data.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's, for digest.cc

namespace headwater::workbench {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::string_view bytes);
  // 64 lower-case hex digits; ends the hash.
  std::string hex();

 private:
  evp_md_ctx_st* const context_;
};

}  // namespace headwater::workbench
