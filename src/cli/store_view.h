// What the `store` subcommands do.
#pragma once

#include <cstdint>
#include <string>

namespace headwater {

struct StoreFlags {
  std::string dir;
  std::string lane = "readings";
  std::string device;
  std::string from;
  std::string to;
  std::string out;
  std::uint64_t sequence = 1;
  std::uint64_t limit = 0;
  bool json = false;
  bool raw = false;
  bool force = false;
};

struct BatchFlags {
  std::string file;
  bool rows = false;
  bool json = false;
};

// Each returns the exit status.
int store_ls(const StoreFlags& flags);
int store_cat(const StoreFlags& flags);
int store_export(const StoreFlags& flags);
int store_verify(const StoreFlags& flags);
int store_batch(const BatchFlags& flags);
int store_repair(const StoreFlags& flags);

}  // namespace headwater
