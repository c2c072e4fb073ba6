// Bodies around bodies.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/http.h"

namespace turnout::blob {

// Passes a body through; where it ends, its MD5 must be the one that was promised (base64, "" = no
// promise), else the end is the error "Md5Mismatch".
class Md5Reader final : public http::BodyReader {
public:
    Md5Reader(http::BodyReader& body, std::string expected);
    ~Md5Reader() override;
    Task<Result<std::string>> read() override;

private:
    struct Context;
    http::BodyReader& body_;
    const std::string expected_;
    std::unique_ptr<Context> context_;
};

class BytesReader final : public http::BodyReader {
public:
    explicit BytesReader(std::string bytes) : bytes_(std::move(bytes)) {}
    Task<Result<std::string>> read() override { co_return std::exchange(bytes_, {}); }

private:
    std::string bytes_;
};

}  // namespace turnout::blob
