#include "api/arm/attached.h"

#include <algorithm>
#include <utility>

#include "base/hash.h"
#include "base/text.h"
#include "resources/resources.h"
#include "vault/machine_secrets.h"

namespace turnout::api {
namespace arm {
namespace {

constexpr std::size_t kLongestKey = 32 << 10, kLongestPassword = 1 << 10;
// An idle node costs a few megabytes of memory there, a new one a second.
constexpr Span kStays = std::chrono::hours(24 * 365 * 10);
constexpr Span kTryAgain = 1s;

constexpr std::string_view kAccount = "properties.properties.administratorAccount";

Result<std::string> secret_text(const Json& account, std::string_view member, std::size_t longest) {
    const Json& value = account.at(member);
    const std::string place = std::string(kAccount) + "." + std::string(member);
    if (value.is_null()) return std::string();
    // Never with what was found.
    if (!value.is_string()) return invalid(place + ": expected a text", place);
    if (value.as_view().size() > longest)
        return invalid(place + ": expected at most " + std::to_string(longest) + " bytes", place);
    return value.as_string();
}

Result<MachineSecret> read_secret(const Json& account) {
    const std::string key = TURNOUT_TRY(secret_text(account, "privateKeyData", kLongestKey));
    const std::string password = TURNOUT_TRY(secret_text(account, "password", kLongestPassword));
    if (!key.empty() && !password.empty())
        return invalid("expected either a password or a private key, found both",
                       std::string(kAccount) + ".password");
    return MachineSecret{Secret(key), Secret(password)};
}

// "vm1" of "/subscriptions/…/virtualMachines/vm1", or what v1's clients say by itself.
Result<std::string> host_of(const Json& properties) {
    const Json& id = properties.at("resourceId");
    const Json& address = properties.at("properties").at("address");
    const std::string alone = address.as_string(), text = id.as_string();
    const std::string last = text.substr(text.rfind('/') + 1);
    if (!alone.empty() && !text.empty() && last != alone)
        return invalid("expected one machine, found " + turnout::shown(last) +
                           " in resourceId and " + turnout::shown(alone) + " in properties.address",
                       "properties.resourceId");
    if (!alone.empty()) return alone;
    if (text.empty())
        return fail(
            Code::InvalidArgument, "MachineNotNamed",
            "a VirtualMachine is attached, not made: expected a resourceId whose last part is its "
            "name or IP address, or 'properties.address'",
            "properties.resourceId");
    return last;
}

// Short, for it is part of a socket's path; and of this compute alone.
std::string folder_for(const std::string& workspace, const std::string& name) {
    return name.substr(0, 16) + "-" + to_hex(sha256(workspace + "/" + name)).substr(0, 8);
}

std::string login_of(const AttachedMachine& machine) {
    return machine.user + "@" + machine.address + ":" + std::to_string(machine.port);
}

Task<void> look_there(Services& services, std::string workspace, std::string name,
                      AttachedMachine machine) {
    const int number = machine.check;
    Json found = co_await services.check_machine(machine);
    const bool good = found.at("reachable").as_bool();
    const std::string why = good ? "" : found.at("message").as_string("it cannot be reached");
    found.erase("reachable");
    found.erase("nodes");
    for (;;) {
        const auto change = [&](const std::optional<Compute>& now) -> Result<Compute> {
            if (!now || !now->attached || now->attached->check != number)
                return not_found("it is not waited for any more", "compute");
            Compute changed = *now;
            changed.attached->state =
                good ? AttachedMachine::State::Ready : AttachedMachine::State::Failed;
            changed.attached->why = why;
            if (good) {
                changed.attached->found = found;
                changed.attached->found.set("checkedOn", to_iso8601(services.clock.now()));
            }
            return changed;
        };
        const Result<Put> put = co_await asked<Put>([&](auto reply) {
            services.control.change_compute(workspace, name, change, std::move(reply));
        });
        const bool over =
            put || put.error().code == Code::NotFound || put.error().code == Code::Conflict;
        if (over) co_return;
        co_await services.loop.sleep(kTryAgain);  // the store had no room
    }
}

}  // namespace

bool is_machine(const Json& body) {
    return equal_ignoring_case(body.at("properties").at("computeType").as_view(), "VirtualMachine");
}

Result<Compute> read_machine(Services& services, const Workspace& workspace,
                             const std::string& name, const Json& body,
                             const std::optional<Compute>& before, std::vector<Write>& together) {
    const Json& properties = body.at("properties");
    const Json& inner = properties.at("properties");
    for (const auto& [place, value] :
         {std::pair{"properties.properties", &inner},
          {"properties.properties.administratorAccount", &inner.at("administratorAccount")}})
        if (!value->is_null() && !value->is_object())
            return invalid(std::string(place) + ": expected an object", place);
    MachineWanted wanted;
    wanted.host = TURNOUT_TRY(host_of(properties));
    TURNOUT_TRY(resources::check_rest(resources::virtual_machine(), body));
    const Json& account = inner.at("administratorAccount");
    const MachineSecret secret = TURNOUT_TRY(read_secret(account));
    const std::string key = workspace.id + "/" + name;
    if (!services.machine_of || !services.vault)
        return fail(Code::InvalidArgument, "ComputeTypeNotSupported",
                    "this server cannot reach machines by SSH", "properties.computeType");
    std::optional<MachineSecret> had;
    if (before && before->attached) {
        had = TURNOUT_TRY(read_machine_secret(*services.vault, services.store, key));
    } else if (before) {
        return fail(Code::Conflict, "ComputeUpdateNotSupported",
                    "compute '" + name + "' exists and is a cluster: choose another name",
                    "properties.computeType");
    }
    wanted.port = static_cast<int>(inner.at("sshPort").as_int());
    wanted.user = account.at("username").as_string();
    wanted.folder = folder_for(workspace.id, name);
    wanted.host_key = body.at("tags").at(kHostKeyTag).as_string();
    if (!secret.empty() || had) wanted.secret = key;

    Compute compute;
    compute.workspace = workspace.id;
    compute.name = name;
    compute.pool = pool_of_machine(workspace.id, name);
    compute.idle_before_scale_down = kStays;
    AttachedMachine machine = TURNOUT_TRY(services.machine_of(wanted));
    machine.resource_id = properties.at("resourceId").as_string().substr(0, 1024);
    compute.definition = Json::object({{"computeType", "VirtualMachine"}});
    if (const Json& text = properties.at("description"); text.is_string())
        compute.definition.set("description", text);
    compute.envelope = Json::object({{"location", workspace.location}});
    for (const std::string_view member : {"tags", "identity", "sku"})
        if (body.at(member).is_object()) compute.envelope.set(member, body.at(member));

    const bool other_secret = !secret.empty() && !(had && had->key.matches(secret.key.reveal()) &&
                                                   had->password.matches(secret.password.reveal()));
    bool look = true;
    if (before) {
        const AttachedMachine& was = *before->attached;
        if (was.address != machine.address || was.user != machine.user || was.port != machine.port)
            return fail(Code::Conflict, "ComputeUpdateNotSupported",
                        "compute '" + name + "' exists and is the machine " + login_of(was) +
                            ", not " + login_of(machine) +
                            ": detach it first, or choose another name",
                        "properties.resourceId");
        look = other_secret || was.settings != machine.settings ||
               was.state == AttachedMachine::State::Failed ||
               !services.control.unusable(workspace.id, name).empty();
        machine.check = look ? was.check + 1 : was.check;
        machine.found = was.found;
        if (!look) {
            machine.state = was.state;
            machine.why = was.why;
        }
        compute.created = before->created;
    }
    if (other_secret)
        together.push_back(TURNOUT_TRY(write_machine_secret(*services.vault, key, secret)));
    compute.attached = std::move(machine);
    return compute;
}

void look_at_machine(Services& services, const Compute& compute) {
    if (!compute.attached || compute.attached->state != AttachedMachine::State::Checking) return;
    start(look_there(services, compute.workspace, compute.name, *compute.attached), [] {});
}

Json machine_properties(const Compute& compute) {
    const AttachedMachine& machine = *compute.attached;
    Json bag = Json::object({{"pool", compute.pool}});
    if (machine.found.is_object()) bag.set("system", machine.found);
    return Json::object({{"virtualMachineSize", Json()},
                         {"address", machine.address},
                         {"sshPort", machine.port},
                         {"administratorAccount", Json::object({{"username", machine.user}})},
                         {"propertyBag", std::move(bag)}});
}

Json machine_definition(const Compute& compute) {
    const AttachedMachine& machine = *compute.attached;
    Json properties = compute.definition;
    if (!machine.resource_id.empty()) properties.set("resourceId", machine.resource_id);
    properties.set(
        "properties",
        Json::object({{"address", machine.address},
                      {"sshPort", machine.port},
                      {"administratorAccount", Json::object({{"username", machine.user}})}}));
    Json body = compute.envelope;
    body.set("properties", std::move(properties));
    return body;
}

}  // namespace arm

void resume_attachments(Services& services) {
    const auto look = [&](const Record& record) -> Result<void> {
        const Json document = TURNOUT_TRY(parse_json(record.value));
        const Compute compute = TURNOUT_TRY(compute_from_json(document));
        if (!compute.deleting) arm::look_at_machine(services, compute);
        return {};
    };
    // What cannot be read control has told already.
    (void)each_row(services.store, Table::Compute, with_prefix(""), look);
}

}  // namespace turnout::api
