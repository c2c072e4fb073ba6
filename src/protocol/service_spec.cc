#include "protocol/service_spec.h"

#include "protocol/descriptions.h"

namespace turnout::agent_protocol {

std::string_view name_of(Probe::Kind kind) {
    switch (kind) {
        case Probe::Kind::Tcp: return "tcp";
        case Probe::Kind::Http: return "http";
    }
    return "";
}

std::string_view name_of(Restart::When when) {
    switch (when) {
        case Restart::When::Always: return "always";
        case Restart::When::OnFailure: return "on_failure";
    }
    return "";
}

Result<Probe::Kind> parse_choice(std::string_view text, Probe::Kind) {
    for (const auto kind : {Probe::Kind::Tcp, Probe::Kind::Http})
        if (name_of(kind) == text) return kind;
    return invalid("service.probe.kind of the agent protocol must be 'tcp' or 'http'", "kind");
}

Result<Restart::When> parse_choice(std::string_view text, Restart::When) {
    for (const auto when : {Restart::When::Always, Restart::When::OnFailure})
        if (name_of(when) == text) return when;
    return invalid("service.restart.when of the agent protocol must be 'always' or 'on_failure'",
                   "when");
}

bool is_probe_path(std::string_view path) {
    if (!path.starts_with('/')) return false;
    for (const char c : path)
        if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f' || c == '#') return false;
    return true;
}

Json to_json(const ServiceSpec& service) {
    TreeOut out;
    Writer<TreeOut>::write(out, service);
    return std::move(out).take();
}

Result<ServiceSpec> service_from_json(const Json& json) {
    Reader reader(json, kCalled<ServiceSpec>);
    ServiceSpec service;
    describe(reader, service);
    return reader.finish(std::move(service));
}

}  // namespace turnout::agent_protocol
