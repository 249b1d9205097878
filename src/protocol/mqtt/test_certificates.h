// A CA, a server certificate for 127.0.0.1 and a client certificate for "press-7", made afresh with
// OpenSSL in a temporary folder.
#pragma once

#include <string>

namespace headwater::mqtt::test {

class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Certificates {
 public:
  Certificates();
  std::string ca() const { return dir_.path() + "/ca.pem"; }
  std::string server() const { return dir_.path() + "/server.pem"; }
  std::string server_key() const { return dir_.path() + "/server.key"; }
  std::string client() const { return dir_.path() + "/client.pem"; }
  std::string client_key() const { return dir_.path() + "/client.key"; }

 private:
  TempDir dir_;
};

}  // namespace headwater::mqtt::test
