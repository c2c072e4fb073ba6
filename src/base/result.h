// Errors are values. A `Result<T>` is a T or one `Error`, whose code says what the caller does
// next.
#pragma once

#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace turnout {

// Chosen by the reaction it asks for, not by where it happened. One table (`http_status`) maps a
// code to HTTP; the CLI maps it to an exit code.
enum class Code {
    InvalidArgument,     // the caller's input is wrong: fix it, do not retry
    NotFound,            // the named thing does not exist
    Conflict,            // re-read and redo
    FailedPrecondition,  // somebody must fix the world first
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,  // a limit was met: fewer, smaller or later
    Unavailable,        // retry this call
    Ambiguous,          // it may have happened: look before retrying
    Canceled,
    Internal,  // a defect of ours
};

std::string_view name_of(Code code);
int http_status(Code code);

struct Error {
    // Compiled once: nearly every function has a path that ends one.
    Error();
    Error(Code code, std::string reason, std::string message, std::string subject = {},
          std::shared_ptr<const Error> cause = nullptr);
    Error(const Error& other);
    Error(Error&& other) noexcept;
    Error& operator=(const Error& other);
    Error& operator=(Error&& other) noexcept;
    ~Error();
    bool operator==(const Error& other) const;  // but for the cause

    Code code = Code::Internal;
    std::string reason;   // a stable CamelCase word for programs, e.g. "ResourceNotFound"
    std::string message;  // for people: lower case, names the thing and the next step, no secrets
    std::string subject;  // the field, file or resource it is about; may be empty
    std::shared_ptr<const Error> cause = nullptr;  // shared: errors are copied, causes never change
};

template <class T>
using Result = std::expected<T, Error>;

using Failure = std::unexpected<Error>;

// `return fail(Code::NotFound, "ResourceNotFound", "compute 'x' does not exist");`
Failure fail(Code code, std::string_view reason, std::string_view message,
             std::string_view subject = {});
Failure invalid(std::string_view message, std::string_view subject = {});
Failure not_found(std::string_view message, std::string_view subject = {});
Failure internal(std::string_view message, std::string_view subject = {});

// Ends the process with the place and the text: for invariants, on in release too.
[[noreturn]] void check_failed(const char* file, int line, const char* expression,
                               std::string_view detail);

}  // namespace turnout

#define TURNOUT_CHECK(expression, detail)                                       \
    do {                                                                        \
        if (!(expression)) [[unlikely]]                                         \
            ::turnout::check_failed(__FILE__, __LINE__, #expression, (detail)); \
    } while (false)

// Plain functions only (never with co_await inside: g++ 12 crashes). In coroutines use
// TURNOUT_CO_TRY (task.h) instead.
#define TURNOUT_TRY(expression)                                               \
    ({                                                                        \
        auto turnout_try_result = (expression);                               \
        if (!turnout_try_result) [[unlikely]]                                 \
            return ::turnout::Failure(std::move(turnout_try_result).error()); \
        ::turnout::detail::unwrap(std::move(turnout_try_result));             \
    })

namespace turnout::detail {
// g++ 12 takes the value that is not there for one that is not set.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
template <class T>
T unwrap(Result<T>&& result) {
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}
#pragma GCC diagnostic pop
}  // namespace turnout::detail
