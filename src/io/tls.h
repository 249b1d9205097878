// TLS contexts (OpenSSL 3): certificates and trust, shared by many Streams.
//
// TLS 1.2 and newer. A context is immutable once made and may be used from any thread.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "io/socket.h"

struct ssl_ctx_st;

namespace headwater::io {

struct TlsServerOptions {
  std::string certificate;  // PEM file: the certificate, then its chain
  std::string key;          // PEM file
  std::string client_ca;    // PEM file; "": client certificates are not asked for
  bool require_client_certificate = false;
};

struct TlsClientOptions {
  std::string ca;           // PEM file; "": the system's trust store
  std::string certificate;  // PEM file; "": none
  std::string key;
  bool verify = true;  // chain and host name; false only for tests and for people who ask for it
};

class TlsContext {
 public:
  // Errors name the file and what OpenSSL says about it.
  static Result<std::shared_ptr<TlsContext>> server(const TlsServerOptions& options);
  static Result<std::shared_ptr<TlsContext>> client(const TlsClientOptions& options);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // A Stream over a connected socket, handshake not begun. The client's `host` is sent as SNI (if
  // it is a name) and checked against the certificate.
  Result<Stream> accept(Fd fd) const;
  Result<Stream> connect(Fd fd, const std::string& host) const;

 private:
  TlsContext(ssl_ctx_st* context, bool verify) : context_(context), verify_(verify) {}
  ssl_ctx_st* context_;
  bool verify_;
};

// The oldest error in this thread's OpenSSL queue as text, and empties the queue.
std::string openssl_error();

}  // namespace headwater::io
