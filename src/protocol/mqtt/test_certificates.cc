#include "protocol/mqtt/test_certificates.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace headwater::mqtt::test {
namespace {

struct Pair {
  EVP_PKEY* key = nullptr;
  X509* certificate = nullptr;
};

void extend(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  ASSERT_NE(extension, nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// Signed by `issuer`, or by itself if that is null.
Pair make(const char* name, const Pair* issuer, const char* alternative_name, long serial) {
  Pair made;
  made.key = EVP_EC_gen("P-256");
  made.certificate = X509_new();
  X509_set_version(made.certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), serial);
  X509_gmtime_adj(X509_getm_notBefore(made.certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made.certificate), 24 * 3600);
  X509_set_pubkey(made.certificate, made.key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name), -1, -1, 0);
  X509* const signer = issuer == nullptr ? made.certificate : issuer->certificate;
  X509_set_issuer_name(made.certificate, X509_get_subject_name(signer));
  if (issuer == nullptr) {
    extend(made.certificate, signer, NID_basic_constraints, "critical,CA:TRUE");
  }
  if (alternative_name != nullptr) {
    extend(made.certificate, signer, NID_subject_alt_name, alternative_name);
  }
  X509_sign(made.certificate, issuer == nullptr ? made.key : issuer->key, EVP_sha256());
  return made;
}

void save(const Pair& pair, const std::string& certificate, const std::string& key) {
  FILE* file = std::fopen(certificate.c_str(), "w");
  ASSERT_NE(file, nullptr);
  PEM_write_X509(file, pair.certificate);
  std::fclose(file);
  if (!key.empty()) {
    file = std::fopen(key.c_str(), "w");
    ASSERT_NE(file, nullptr);
    PEM_write_PrivateKey(file, pair.key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
  }
}

void discard(Pair& pair) {
  EVP_PKEY_free(pair.key);
  X509_free(pair.certificate);
}

}  // namespace

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "hw-mqtt-XXXXXX").string();
  path_ = mkdtemp(pattern.data()) == nullptr ? "" : pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Certificates::Certificates() {
  Pair authority = make("Test CA", nullptr, nullptr, 1);
  Pair server_pair = make("edge", &authority, "IP:127.0.0.1", 2);
  Pair client_pair = make("press-7", &authority, nullptr, 3);
  save(authority, ca(), "");
  save(server_pair, server(), server_key());
  save(client_pair, client(), client_key());
  discard(authority);
  discard(server_pair);
  discard(client_pair);
}

}  // namespace headwater::mqtt::test
