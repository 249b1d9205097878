// Links: the way from the devices to the edge, as a TCP proxy that can break: links are reset, or
// stay open and carry nothing.
//
// The loop's thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "io/loop.h"
#include "io/socket.h"

namespace headwater::torture {

class Links {
 public:
  // Listens on a free port of this machine, and carries to `to`.
  static Result<std::unique_ptr<Links>> open(io::Loop& loop, std::uint16_t to);
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  std::uint16_t port() const { return port_; }
  std::size_t open_links() const { return links_.size(); }
  void reset_all();
  // Links that are open now carry nothing any more; new ones do.
  void freeze_all();

 private:
  struct Link {
    io::Fd device;
    io::Fd edge;
    std::string to_edge;  // read, not written yet
    std::string to_device;
    bool connected = false;
    bool frozen = false;
  };
  Links(io::Loop& loop, std::uint16_t to) : loop_(loop), to_(to) {}
  void accept();
  void serve(std::uint64_t id);
  void close(std::uint64_t id);
  void rewatch(const Link& link);

  io::Loop& loop_;
  std::uint16_t to_;
  std::uint16_t port_ = 0;
  io::Fd listening_;
  std::map<std::uint64_t, std::unique_ptr<Link>> links_;
  std::uint64_t next_ = 1;
};

}  // namespace headwater::torture
