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

void check_failed(const char* file, int line, const char* expression, std::string_view detail) {
    std::fprintf(stderr, "turnout: broken invariant at %s:%d: %s: %.*s\n", file, line, expression,
                 static_cast<int>(detail.size()), detail.data());
    std::fflush(stderr);
    std::abort();
}

}  // namespace turnout
