#include "protocol/facts.h"

#include "protocol/descriptions.h"

namespace turnout::agent_protocol {

Json to_json(const Facts& facts) {
    TreeOut out;
    Writer<TreeOut>::write(out, facts);
    return std::move(out).take();
}

Result<Facts> facts_from_json(const Json& json) {
    Reader reader(json, kCalled<Facts>);
    Facts facts;
    describe(reader, facts);
    return reader.finish(std::move(facts));
}

bool same_machine(Facts a, const Facts& b) {
    a.free_disk_bytes = b.free_disk_bytes;
    return a == b;
}

}  // namespace turnout::agent_protocol
