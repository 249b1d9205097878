#include "io/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace headwater::io {
namespace {

// A socket BIO whose writes raise no SIGPIPE; OpenSSL's own uses write().
int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const ssize_t sent = send(fd, bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_retry_write(bio);
  }
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  const ssize_t got = recv(fd, bytes, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_retry_read(bio);
  }
  if (got == 0) {
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  }
  return static_cast<int>(got);
}

long bio_control(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default:
      return 0;
  }
}

BIO_METHOD* bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "headwater socket");
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  return method;
}

Error tls_error(std::string_view what) {
  return Error::invalid("{}: {}", what, openssl_error());
}

Result<SSL_CTX*> make_context(const SSL_METHOD* method) {
  ERR_clear_error();
  SSL_CTX* const context = SSL_CTX_new(method);
  if (context == nullptr) {
    return tls_error("make a TLS context");
  }
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  // No renegotiation by the peer: it costs us more than it costs them. A peer that closes TCP
  // without close_notify is an ordinary end: MQTT has its own DISCONNECT.
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  return context;
}

Status use_certificate(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return tls_error(fmt::format("read certificate '{}'", certificate));
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return tls_error(fmt::format("read key '{}'", key));
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    return tls_error(fmt::format("key '{}' does not belong to '{}'", key, certificate));
  }
  return {};
}

Result<Stream> attach(SSL_CTX* context, Fd fd) {
  SSL* const ssl = SSL_new(context);
  if (ssl == nullptr) {
    return Error::exhausted("make a TLS connection: {}", openssl_error());
  }
  BIO* const bio = BIO_new(bio_method());
  if (bio == nullptr) {
    SSL_free(ssl);
    return Error::exhausted("make a TLS connection: {}", openssl_error());
  }
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd.get())));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return Stream(std::move(fd), ssl);
}

}  // namespace

std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) {
    return "unknown error";
  }
  if (ERR_SYSTEM_ERROR(code)) {
    return std::strerror(static_cast<int>(ERR_GET_REASON(code)));
  }
  const char* const reason = ERR_reason_error_string(code);
  return reason == nullptr ? fmt::format("OpenSSL error {:x}", code) : reason;
}

Result<std::shared_ptr<TlsContext>> TlsContext::server(const TlsServerOptions& options) {
  SSL_CTX* const context = HW_TRY(make_context(TLS_server_method()));
  std::shared_ptr<TlsContext> made(new TlsContext(context, options.require_client_certificate));
  HW_TRY(use_certificate(context, options.certificate, options.key));
  // Sessions are told apart by this when client certificates are asked for.
  constexpr std::string_view kSessionContext = "headwater";
  SSL_CTX_set_session_id_context(context,
                                 reinterpret_cast<const unsigned char*>(kSessionContext.data()),
                                 static_cast<unsigned>(kSessionContext.size()));
  SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
  if (!options.client_ca.empty()) {
    if (SSL_CTX_load_verify_file(context, options.client_ca.c_str()) != 1) {
      return tls_error(fmt::format("read client CA '{}'", options.client_ca));
    }
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options.client_ca.c_str()));
    SSL_CTX_set_verify(
        context,
        SSL_VERIFY_PEER |
            (options.require_client_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        nullptr);
  } else if (options.require_client_certificate) {
    return Error::invalid("a client certificate is required, but no client CA is given");
  }
  return made;
}

Result<std::shared_ptr<TlsContext>> TlsContext::client(const TlsClientOptions& options) {
  SSL_CTX* const context = HW_TRY(make_context(TLS_client_method()));
  std::shared_ptr<TlsContext> made(new TlsContext(context, options.verify));
  if (options.ca.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1) {
      return tls_error("read the system's trust store");
    }
  } else if (SSL_CTX_load_verify_file(context, options.ca.c_str()) != 1) {
    return tls_error(fmt::format("read CA '{}'", options.ca));
  }
  if (!options.certificate.empty()) {
    HW_TRY(use_certificate(context, options.certificate, options.key));
  }
  SSL_CTX_set_verify(context, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  return made;
}

TlsContext::~TlsContext() {
  SSL_CTX_free(context_);
}

Result<Stream> TlsContext::accept(Fd fd) const {
  auto made = HW_TRY(attach(context_, std::move(fd)));
  SSL_set_accept_state(made.ssl());
  return made;
}

Result<Stream> TlsContext::connect(Fd fd, const std::string& host) const {
  auto made = HW_TRY(attach(context_, std::move(fd)));
  SSL* const ssl = made.ssl();
  SSL_set_connect_state(ssl);
  const bool numeric = numeric_address(host, 0).ok();
  if (!numeric) {
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
  if (verify_) {
    X509_VERIFY_PARAM* const parameters = SSL_get0_param(ssl);
    const int set = numeric ? X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str())
                            : X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
    if (set != 1) {
      return Error::invalid("'{}' cannot be checked against a certificate: {}", host,
                            openssl_error());
    }
  }
  return made;
}

}  // namespace headwater::io
