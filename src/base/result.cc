#include "base/result.h"

#include <cstdio>
#include <cstdlib>

namespace turnout {

std::string_view name_of(Code code) {
    switch (code) {
        case Code::InvalidArgument: return "InvalidArgument";
        case Code::NotFound: return "NotFound";
        case Code::Conflict: return "Conflict";
        case Code::FailedPrecondition: return "FailedPrecondition";
        case Code::PermissionDenied: return "PermissionDenied";
        case Code::Unauthenticated: return "Unauthenticated";
        case Code::ResourceExhausted: return "ResourceExhausted";
        case Code::Unavailable: return "Unavailable";
        case Code::Ambiguous: return "Ambiguous";
        case Code::Canceled: return "Canceled";
        case Code::Internal: return "Internal";
    }
    return "Internal";
}

int http_status(Code code) {
    switch (code) {
        case Code::InvalidArgument: return 400;
        case Code::NotFound: return 404;
        case Code::Conflict: return 409;
        case Code::FailedPrecondition: return 409;
        case Code::PermissionDenied: return 403;
        case Code::Unauthenticated: return 401;
        case Code::ResourceExhausted: return 429;
        case Code::Unavailable: return 503;
        case Code::Ambiguous: return 500;
        case Code::Canceled: return 499;
        case Code::Internal: return 500;
    }
    return 500;
}

Error::Error() = default;
Error::Error(Code c, std::string r, std::string m, std::string s, std::shared_ptr<const Error> why)
    : code(c),
      reason(std::move(r)),
      message(std::move(m)),
      subject(std::move(s)),
      cause(std::move(why)) {}
Error::Error(const Error& other) = default;
Error::Error(Error&& other) noexcept = default;
Error& Error::operator=(const Error& other) = default;
Error& Error::operator=(Error&& other) noexcept = default;
Error::~Error() = default;

bool Error::operator==(const Error& other) const {
    return code == other.code && reason == other.reason && message == other.message &&
           subject == other.subject;
}

Failure fail(Code code, std::string_view reason, std::string_view message,
             std::string_view subject) {
    return Failure(Error(code, std::string(reason), std::string(message), std::string(subject)));
}
Failure invalid(std::string_view message, std::string_view subject) {
    return fail(Code::InvalidArgument, "InvalidArgument", message, subject);
}
Failure not_found(std::string_view message, std::string_view subject) {
    return fail(Code::NotFound, "ResourceNotFound", message, subject);
}
Failure internal(std::string_view message, std::string_view subject) {
    return fail(Code::Internal, "InternalError", message, subject);
}

void check_failed(const char* file, int line, const char* expression, std::string_view detail) {
    std::fprintf(stderr, "turnout: broken invariant at %s:%d: %s: %.*s\n", file, line, expression,
                 static_cast<int>(detail.size()), detail.data());
    std::fflush(stderr);
    std::abort();
}

}  // namespace turnout
