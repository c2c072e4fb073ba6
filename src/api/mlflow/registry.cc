// MLflow's model registry over the workspace's models: a registered model is the asset, a version
// of it a version of the asset. What the SDK registers is seen here, and the other way round.
#include <algorithm>
#include <functional>

#include "access/actions.h"
#include "api/data_uri.h"
#include "api/history/log_link.h"
#include "api/mlflow/filter.h"
#include "api/mlflow/wire.h"
#include "api/upkeep/removal.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "catalog/catalog.h"
#include "submission/reference.h"

namespace turnout::api::mlflow {
namespace {

constexpr std::string_view kModels = "models";
// Members of an asset's own "properties": what MLflow knows and the asset has no member for.
constexpr std::string_view kSource = "mlflow.source", kStage = "mlflow.stage",
                           kLink = "mlflow.runLink", kModelId = "mlflow.modelId",
                           kModified = "mlflow.modified";
constexpr std::string_view kStages[] = {"None", "Staging", "Production", "Archived"};
constexpr std::size_t kPageOfModels = 100, kMostModels = 1000, kPageOfVersions = 10'000,
                      kMostVersions = 200'000;

Failure no_model(std::string_view name) {
    return fail(Code::NotFound, "ResourceNotFound",
                "registered model '" + std::string(name) + "' does not exist", "name");
}
Failure no_version(std::string_view name, std::string_view version) {
    return fail(Code::NotFound, "ResourceNotFound",
                "registered model '" + std::string(name) + "' has no version '" +
                    std::string(version) + "'",
                "version");
}

struct Asked {
    Workspace workspace;
    Json given;  // body or query
    std::string name;
    Author by;
    std::string text(std::string_view field) const {
        const Json& value = given.at(field);
        return value.is_string() || value.is_null() ? value.as_string() : value.dump();
    }
};

Task<Result<Asked>> asked(Services& services, Call& call, bool named = true) {
    Asked out;
    TURNOUT_CO_TRY(out.workspace, workspace_of_run(services, call));
    TURNOUT_CO_TRY(out.by, author_of(services, call));
    if (call.request.method == "GET") {
        out.given = Json::object();
        Json orders = Json::array();
        for (const auto& [name, value] : call.query)
            if (name == "order_by")
                orders.push(value);
            else
                out.given.set(name, value);
        out.given.set("order_by", std::move(orders));
    } else {
        TURNOUT_CO_TRY(out.given, co_await call.json());
        if (!out.given.is_object()) co_return invalid("the body is not an object", "body");
        for (const std::string field : {"name", "version", "alias", "description", "key", "value",
                                        "stage", "source", "run_id", "run_link"}) {
            TURNOUT_CO_TRY([[maybe_unused]] const std::string text, text_of(out.given, field));
        }
    }
    out.name = out.text("name");
    if (named && out.name.empty())
        co_return invalid("the request has no 'name' of a registered model", "name");
    call.about = "model " + out.name;
    if (out.given.has("version")) call.about += " version " + out.text("version");
    co_return out;
}

Json pairs_of(const Json& tags) {
    Json list = Json::array();
    for (const auto& [key, value] : tags.members())
        list.push(Json::object(
            {{"key", key}, {"value", value.is_string() ? value : Json(value.dump())}}));
    return list;
}

Result<AssetContainer> container_of(Services& services, const Asked& asked) {
    auto found =
        TURNOUT_TRY(services.assets.find_container(asked.workspace.id, kModels, asked.name));
    if (!found || found->archived) return no_model(asked.name);
    return std::move(*found);
}

// `found`: what is there under that number, if anything is.
Result<void> check_version(const std::string& name, const std::string& number,
                           const AssetVersion* found) {
    if (number.empty()) return invalid("the request has no 'version'", "version");
    // The workspace's own may be any text; MLflow's are numbers.
    if (!found && number.find_first_not_of("-0123456789") != std::string::npos)
        return invalid("'" + number.substr(0, 40) + "' is no version of '" + name +
                           "': MLflow's are whole numbers",
                       "version");
    if (!found || found->archived) return no_version(name, number);
    return {};
}

Result<AssetVersion> version_of(Services& services, const Asked& asked,
                                const AssetContainer& container, const std::string& version) {
    auto found = version.empty() ? std::nullopt
                                 : TURNOUT_TRY(services.assets.find_version(
                                       asked.workspace.id, kModels, container.name, version));
    TURNOUT_TRY(check_version(container.name, version, found ? &*found : nullptr));
    return std::move(*found);
}

// "R/artifacts/P" of what is among a run's artifacts, else a name of its own under which the
// artifact service has it too.
std::string place_of(const Workspace& workspace, const AssetVersion& version) {
    const auto reference =
        submission::parse_reference(version.properties.at("modelUri").as_view(), workspace);
    constexpr std::string_view of_run = "ExperimentRun/dcid.";
    if (reference && reference->datastore == kArtifactStore &&
        reference->path.starts_with(of_run)) {
        const std::string_view rest = std::string_view(reference->path).substr(of_run.size());
        const std::size_t slash = rest.find('/');
        return std::string(rest.substr(0, slash)) + "/artifacts" +
               std::string(slash == std::string_view::npos ? "" : rest.substr(slash));
    }
    return "registry/" + version.name + "/" + version.version;
}

Json version_document(const Workspace& workspace, const AssetContainer& container,
                      const AssetVersion& version) {
    const Json& more = version.properties.at("properties");
    Json aliases = Json::array();
    for (const auto& [alias, number] : container.properties.at(kAliases).members())
        if (number.as_view() == version.version) aliases.push(alias);
    std::string source = more.at(kSource).as_string();
    if (source.empty()) source = "mlflow-artifacts:/" + place_of(workspace, version);
    const std::int64_t created = version.created.micros / 1000;
    Json document = Json::object(
        {{"name", version.name},
         {"version", version.version},
         {"creation_timestamp", created},
         {"last_updated_timestamp",
          std::max(created, parse_whole_number(more.at(kModified).as_view()).value_or(0))},
         {"user_id", version.made.created.user},
         {"current_stage", more.at(kStage).as_string("None")},
         {"description", version.properties.at("description").as_string()},
         {"source", source},
         {"run_id", version.properties.at("jobName").as_string()},
         {"status", "READY"},
         {"status_message", ""},
         {"run_link", more.at(kLink).as_string()},
         {"tags", pairs_of(version.properties.at("tags"))},
         {"aliases", std::move(aliases)}});
    if (const std::string id = more.at(kModelId).as_string(); !id.empty())
        document.set("model_id", id);
    return document;
}

// Newest first, without those that were deleted.
Result<std::vector<AssetVersion>> versions_of(Services& services, const Workspace& workspace,
                                              const std::string& name) {
    auto all = TURNOUT_TRY(services.assets.list_versions(workspace.id, kModels, name));
    std::erase_if(all, [](const AssetVersion& one) { return one.archived; });
    return all;
}

// The newest of each stage.
Result<Json> newest_of_stages(Services& services, const Workspace& workspace,
                              const AssetContainer& container, const Json& stages) {
    Json list = Json::array();
    std::vector<std::string> seen;
    for (const AssetVersion& version :
         TURNOUT_TRY(versions_of(services, workspace, container.name))) {
        const std::string stage = version.properties.at("properties").at(kStage).as_string("None");
        const bool wanted =
            stages.items().empty() || std::ranges::any_of(stages.items(), [&](const Json& one) {
                return equal_ignoring_case(one.as_view(), stage);
            });
        if (!wanted || std::ranges::find(seen, stage) != seen.end()) continue;
        seen.push_back(stage);
        list.push(version_document(workspace, container, version));
    }
    return list;
}

Result<Json> model_document(Services& services, const Workspace& workspace,
                            const AssetContainer& container) {
    const std::int64_t created = container.created.micros / 1000;
    Json aliases = Json::array();
    for (const auto& [alias, version] : container.properties.at(kAliases).members())
        aliases.push(Json::object({{"alias", alias}, {"version", version}}));
    return Json::object(
        {{"name", container.name},
         {"creation_timestamp", created},
         {"last_updated_timestamp", std::max(created, container.properties.at(kModified).as_int())},
         {"user_id", container.made.created.user},
         {"description", container.properties.at("description").as_string()},
         {"latest_versions",
          TURNOUT_TRY(newest_of_stages(services, workspace, container, Json::array()))},
         {"tags", pairs_of(container.properties.at("tags"))},
         {"aliases", std::move(aliases)}});
}

Json with_tags(Json tags, const std::vector<std::pair<std::string, std::string>>& more) {
    if (!tags.is_object()) tags = Json::object();
    for (const auto& [key, value] : more) tags.set(key, value);
    return tags;
}

void touch(Services& services, AssetContainer& container) {
    container.properties.set(kModified, services.clock.now().micros / 1000);
}
Json& more_of(AssetVersion& version) {
    Json& more = version.properties["properties"];
    if (!more.is_object()) more = Json::object();
    return more;
}
void touch(Services& services, AssetVersion& version) {
    more_of(version).set(kModified, std::to_string(services.clock.now().micros / 1000));
}

// What is there in the turn, if it was not deleted.
Result<AssetContainer*> container_in(Asset& now, const Asked& what) {
    if (!now.container || now.container->archived) return no_model(what.name);
    return &*now.container;
}
Result<AssetVersion*> version_in(Asset& now, const Asked& what, const std::string& number) {
    TURNOUT_TRY(container_in(now, what));
    AssetVersion* const found = number.empty() ? nullptr : TURNOUT_TRY(now.find(number));
    TURNOUT_TRY(check_version(what.name, number, found));
    return found;
}
// Newest first, without those that were deleted.
Result<std::vector<AssetVersion*>> versions_in(Asset& now) {
    auto all = TURNOUT_TRY(now.versions());
    std::erase_if(all, [](const AssetVersion* one) { return one->archived; });
    return all;
}

Task<Result<void>> change(Services& services, const Asked& what, Catalog::AssetChange to_be_made) {
    return services.assets.change(what.workspace.id, std::string(kModels), what.name,
                                  std::move(to_be_made), what.by);
}

http::Response wrapped(std::string_view name, Json document) {
    Json body = Json::object();
    body.set(name, std::move(document));
    return json_response(200, body);
}

// ---- registered models

bool is_alias_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || static_cast<unsigned char>(c) >= 0x80;
}

// As MLflow's server: an alphabet and sizes of its own.
Result<void> check_model_tag(const std::string& key, const std::string& value) {
    if (key.empty()) return invalid("the tag has no 'key'", "key");
    if (count_characters(key) > 250)
        return invalid("the key of a tag has at most 250 characters", "key");
    for (const char c : key)
        if (static_cast<unsigned char>(c) < 0x80 && !is_alias_letter(c) &&
            std::string_view("/. :").find(c) == std::string_view::npos)
            return invalid(
                "invalid tag '" + key +
                    "': keys may have letters, digits, '_', '/', '.', '-', ':' and spaces",
                "key");
    for (const std::string& part : split(key, '/'))
        if (part.empty() || part == "." || part == "..")
            return invalid("invalid tag '" + key + "': it has an empty, '.' or '..' part", "key");
    if (count_characters(value) > 100'000)
        return invalid("the value of a tag has at most 100,000 characters", "value");
    return {};
}
Result<void> check_model_tags(const std::vector<std::pair<std::string, std::string>>& tags) {
    for (const auto& [key, value] : tags) TURNOUT_TRY(check_model_tag(key, value));
    return {};
}

Result<std::string> asked_alias(const Asked& what) {
    const std::string alias = what.text("alias");
    if (alias.empty()) return invalid("the request has no 'alias'", "alias");
    if (count_characters(alias) > 255)
        return invalid("an alias has at most 255 characters", "alias");
    if (!std::ranges::all_of(alias, is_alias_letter))
        return invalid("invalid alias '" + alias + "': aliases have letters, digits, '_' and '-'",
                       "alias");
    return alias;
}

// The model once it was changed.
Answer answer_model(Services& services, const Asked& what, Catalog::AssetChange to_be_made) {
    AssetContainer made;
    Catalog::AssetChange seen = [&](Asset& now) -> Result<void> {
        TURNOUT_TRY(to_be_made(now));
        touch(services, *now.container);
        made = *now.container;
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(services, what, std::move(seen)));
    TURNOUT_CO_TRY(Json document, model_document(services, what.workspace, made));
    co_return wrapped("registered_model", std::move(document));
}

Answer create_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const auto tags, parse_pairs(what.given.at("tags"), "tags"));
    TURNOUT_CO_TRY_VOID(check_model_tags(tags));
    TURNOUT_CO_TRY_VOID(check_asset_name(what.name, "registered model"));
    Catalog::AssetChange create = [&](Asset& now) -> Result<void> {
        if (now.container && !now.container->archived)
            return fail(Code::Conflict, "ResourceExists",
                        "registered model '" + what.name + "' exists already", "name");
        if (!now.container) now.make();
        now.container->archived = false;
        now.container->properties = Json::object(
            {{"description", what.text("description")}, {"tags", with_tags(Json(), tags)}});
        return {};
    };
    co_return co_await answer_model(services, what, std::move(create));
}

Answer get_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const AssetContainer container, container_of(services, what));
    TURNOUT_CO_TRY(Json document, model_document(services, what.workspace, container));
    co_return wrapped("registered_model", std::move(document));
}

Answer update_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    Catalog::AssetChange describe = [&](Asset& now) -> Result<void> {
        AssetContainer* const container = TURNOUT_TRY(container_in(now, what));
        container->properties.set("description", what.text("description"));
        return {};
    };
    co_return co_await answer_model(services, what, std::move(describe));
}

Answer delete_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    Catalog::AssetChange archive = [&](Asset& now) -> Result<void> {
        AssetContainer* const container = TURNOUT_TRY(container_in(now, what));
        for (AssetVersion* version : TURNOUT_TRY(versions_in(now))) {
            version->archived = true;
            touch(services, *version);
        }
        container->archived = true;
        touch(services, *container);
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(services, what, std::move(archive)));
    co_return json_response(200, Json::object());
}

Answer rename_model(Services&, Call&) {
    co_return not_implemented(
        "a registered model keeps its name here: register its versions under the new one");
}

Answer latest_versions(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const AssetContainer container, container_of(services, what));
    Json stages = Json::array();
    if (call.request.method != "GET") {
        if (!what.given.at("stages").is_null() && !what.given.at("stages").is_array())
            co_return invalid("'stages' is a list of texts", "stages");
        stages = what.given.at("stages").is_array() ? what.given.at("stages") : Json::array();
    }
    for (const auto& [name, value] : call.query)
        if (name == "stages") stages.push(value);
    for (const Json& stage : stages.items())
        if (std::ranges::none_of(kStages, [&](std::string_view known) {
                return equal_ignoring_case(known, stage.as_view());
            }))
            co_return invalid(
                "'" + stage.as_string().substr(0, 40) +
                    "' is not a stage: expected None, Staging, Production or Archived",
                "stages");
    TURNOUT_CO_TRY(Json list, newest_of_stages(services, what.workspace, container, stages));
    co_return wrapped("model_versions", std::move(list));
}

// Key and value of a tag that is set, the key of one that is taken away.
Result<std::pair<std::string, std::string>> asked_tag(const Asked& what, bool with_value) {
    const std::string key = what.text("key"), value = what.text("value");
    if (with_value)
        TURNOUT_TRY(check_model_tag(key, value));
    else if (key.empty())
        return invalid("the tag has no 'key'", "key");
    return std::pair(key, value);
}

void change_tag(Json& properties, const std::pair<std::string, std::string>& tag, bool set) {
    Json tags = with_tags(properties.at("tags"), {});
    if (set)
        tags.set(tag.first, tag.second);
    else
        tags.erase(tag.first);
    properties.set("tags", std::move(tags));
}

Answer tag_model(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    const bool set = call.request.method == "POST";
    TURNOUT_CO_TRY(const auto tag, asked_tag(what, set));
    Catalog::AssetChange apply = [&](Asset& now) -> Result<void> {
        AssetContainer* const container = TURNOUT_TRY(container_in(now, what));
        change_tag(container->properties, tag, set);
        touch(services, *container);
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(services, what, std::move(apply)));
    co_return json_response(200, Json::object());
}

Answer get_alias(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const std::string alias, asked_alias(what));
    TURNOUT_CO_TRY(const AssetContainer container, container_of(services, what));
    if (equal_ignoring_case(alias, "latest")) {
        TURNOUT_CO_TRY(const auto versions, versions_of(services, what.workspace, what.name));
        if (versions.empty()) co_return no_version(what.name, alias);
        co_return wrapped("model_version",
                          version_document(what.workspace, container, versions.front()));
    }
    const Json* const number = container.properties.at(kAliases).find(alias);
    if (!number)
        co_return invalid("registered model '" + what.name + "' has no alias '" + alias + "'",
                          "alias");  // 400, as MLflow's server
    TURNOUT_CO_TRY(const AssetVersion version,
                   version_of(services, what, container, number->as_string()));
    co_return wrapped("model_version", version_document(what.workspace, container, version));
}

Answer change_alias(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const std::string alias, asked_alias(what));
    const bool set = call.request.method == "POST";
    Catalog::AssetChange apply = [&](Asset& now) -> Result<void> {
        AssetContainer* const container = TURNOUT_TRY(container_in(now, what));
        Json aliases = container->properties.at(kAliases).is_object()
                           ? container->properties.at(kAliases)
                           : Json::object();
        if (set) {
            const std::string number = what.text("version");
            TURNOUT_TRY(version_in(now, what, number));
            if (equal_ignoring_case(alias, "latest"))
                return invalid("'latest' always is the newest version: choose another alias",
                               "alias");
            if (to_lower(alias)[0] == 'v' && alias.size() > 1 &&
                std::ranges::all_of(alias.substr(1), is_digit))
                return invalid("'" + alias + "' stands for a version: choose another alias",
                               "alias");
            aliases.set(alias, number);
        } else {
            aliases.erase(alias);
        }
        container->properties.set(kAliases, std::move(aliases));
        touch(services, *container);
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(services, what, std::move(apply)));
    co_return json_response(200, Json::object());
}

// ---- searches

struct Page {
    std::size_t at = 0, limit = 0;
};
Result<Page> page_of(const Asked& what, std::size_t usual, std::size_t most) {
    Page page{0, usual};
    if (!what.text("max_results").empty()) {
        const auto number = to_int64(what.given.at("max_results"));
        if (!number || *number < 1 || static_cast<std::size_t>(*number) > most)
            return invalid("'max_results' is a number from 1 to " + std::to_string(most),
                           "max_results");
        page.limit = static_cast<std::size_t>(*number);
    }
    if (const std::string token = what.text("page_token"); !token.empty()) {
        const auto number = parse_whole_number(token);
        if (!number || *number < 0)
            return invalid("'" + token.substr(0, 40) + "' is not a page_token of this search",
                           "page_token");
        page.at = static_cast<std::size_t>(*number);
    }
    return page;
}

Cell cell_of(const Condition& condition, const Json& tags,
             const std::vector<std::pair<std::string_view, std::string>>& attributes) {
    if (condition.column.entity == Entity::Tag) {
        const Json* value = tags.find(condition.column.name);
        // Clients leave prompts out of every search: what does not say is none.
        if (!value && condition.column.name == "mlflow.prompt.is_prompt") return Cell("false");
        return value ? Cell(value->as_string()) : Cell();
    }
    for (const auto& [name, text] : attributes)
        if (condition.column.entity == Entity::Attribute && name == condition.column.name) {
            const auto number = condition.is_number ? parse_whole_number(text) : std::nullopt;
            return number ? Cell(static_cast<double>(*number)) : Cell(text);
        }
    return {};
}

Result<void> check_columns(const std::vector<Condition>& filter,
                           std::initializer_list<std::string_view> attributes) {
    for (const Condition& condition : filter)
        if (condition.column.entity != Entity::Tag &&
            (condition.column.entity != Entity::Attribute ||
             std::ranges::find(attributes, condition.column.name) == attributes.end()))
            return invalid(
                "'" + condition.column.name + "' is no attribute that can be searched for here",
                "filter");
    return {};
}

// A search's order_by: a text, or a list of them.
Result<std::vector<Order>> orders_of(const Json& given,
                                     std::initializer_list<std::string_view> known) {
    const Json::Array one{given};
    std::vector<Order> orders;
    for (const Json& item : given.is_array()  ? given.items()
                            : given.is_null() ? Json::Array{}
                                              : one) {
        Order order = TURNOUT_TRY(parse_order(item.as_view()));
        if (order.column.entity != Entity::Attribute ||
            std::ranges::find(known, order.column.name) == known.end())
            return invalid("'" + item.as_string().substr(0, 60) +
                               "' cannot be ordered by here: expected " +
                               join(std::vector<std::string>(known.begin(), known.end()), ", "),
                           "order_by");
        if (std::ranges::any_of(
                orders, [&](const Order& other) { return other.column.name == order.column.name; }))
            return invalid("'" + order.column.name + "' is ordered by twice", "order_by");
        orders.push_back(std::move(order));
    }
    return orders;
}

// What they leave open stays as it is.
template <class Item, class CellOf>
void sort_by(std::vector<Item>& items, const std::vector<Order>& orders, CellOf cell_of) {
    std::ranges::stable_sort(items, [&](const Item& a, const Item& b) {
        for (const Order& order : orders) {
            const Cell one = cell_of(a, order.column.name), other = cell_of(b, order.column.name);
            if (one != other) return order.ascending ? one < other : other < one;
        }
        return false;
    });
}

Answer search_models(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call, false));
    TURNOUT_CO_TRY(const auto filter, parse_filter(what.text("filter")));
    TURNOUT_CO_TRY_VOID(check_columns(filter, {"name"}));
    TURNOUT_CO_TRY(const auto orders, orders_of(what.given.at("order_by"),
                                                {"name", "timestamp", "last_updated_timestamp"}));
    TURNOUT_CO_TRY(const Page page, page_of(what, kPageOfModels, kMostModels));
    TURNOUT_CO_TRY(auto all, services.assets.list_containers(what.workspace.id, kModels));
    std::erase_if(all, [&](const AssetContainer& one) {
        return one.archived || !std::ranges::all_of(filter, [&](const Condition& condition) {
                   return holds(condition, cell_of(condition, one.properties.at("tags"),
                                                   {{"name", one.name}}));
               });
    });
    std::ranges::sort(all, {}, &AssetContainer::name);
    sort_by(all, orders, [](const AssetContainer& one, std::string_view column) {
        if (column == "name") return Cell(one.name);
        return Cell(static_cast<double>(
            std::max(one.created.micros / 1000, one.properties.at(kModified).as_int())));
    });
    Json list = Json::array();
    std::size_t at = page.at;
    for (; at < all.size() && list.items().size() < page.limit; ++at) {
        TURNOUT_CO_TRY(Json document, model_document(services, what.workspace, all[at]));
        list.push(std::move(document));
    }
    Json body = Json::object();
    body.set("registered_models", std::move(list));
    if (at < all.size()) body.set("next_page_token", std::to_string(at));
    co_return json_response(200, body);
}

Answer search_versions(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call, false));
    TURNOUT_CO_TRY(const auto filter, parse_filter(what.text("filter")));
    TURNOUT_CO_TRY_VOID(check_columns(filter, {"name", "run_id", "source_path", "version_number"}));
    TURNOUT_CO_TRY(const auto orders, orders_of(what.given.at("order_by"),
                                                {"name", "version_number", "creation_timestamp",
                                                 "last_updated_timestamp"}));
    TURNOUT_CO_TRY(const Page page, page_of(what, kPageOfVersions, kMostVersions));
    TURNOUT_CO_TRY(auto containers, services.assets.list_containers(what.workspace.id, kModels));
    std::ranges::sort(containers, {}, &AssetContainer::name);
    // Without an order by name, and of one the newest first: so the page is found on the way.
    const std::size_t end = page.at + page.limit, enough = orders.empty() ? end + 1 : SIZE_MAX;
    std::vector<Json> found;
    Turn turn(services, call);
    for (const AssetContainer& container : containers) {
        if (container.archived || found.size() >= enough) continue;
        TURNOUT_CO_TRY(const auto versions, versions_of(services, what.workspace, container.name));
        for (const AssetVersion& version : versions) {
            if (turn.over()) {
                TURNOUT_CO_TRY_VOID(co_await turn.pass());
            }
            const Json document = version_document(what.workspace, container, version);
            const bool fits = std::ranges::all_of(filter, [&](const Condition& condition) {
                return holds(condition, cell_of(condition, version.properties.at("tags"),
                                                {{"name", version.name},
                                                 {"run_id", document.at("run_id").as_string()},
                                                 {"source_path", document.at("source").as_string()},
                                                 {"version_number", version.version}}));
            });
            if (fits) found.push_back(document);
            if (found.size() >= enough) break;
        }
    }
    sort_by(found, orders, [](const Json& document, std::string_view column) {
        if (column == "name") return Cell(document.at(column).as_string());
        const Json& number = document.at(column == "version_number" ? "version" : column);
        return Cell(static_cast<double>(to_int64(number).value_or(0)));
    });
    Json list = Json::array();
    for (std::size_t at = page.at; at < std::min(end, found.size()); ++at)
        list.push(std::move(found[at]));
    Json body = Json::object();
    if (found.size() > end) body.set("next_page_token", std::to_string(end));
    body.set("model_versions", std::move(list));
    co_return json_response(200, body);
}

// ---- versions

struct Source {
    std::string uri;  // as an asset has it
    std::string run;
};

// Where a version's files are, from the many ways in which MLflow's clients name it.
Result<Source> source_of(Services& services, const Call& call, const Asked& what) {
    const std::string text = what.text("source");
    if (text.empty()) return invalid("the version has no 'source'", "source");
    std::string place;  // "R/artifacts/P"
    constexpr std::string_view proxied = "mlflow-artifacts:/", logged = "models:/m-",
                               run = "runs:/";
    if (text.starts_with(proxied)) {
        place = text.substr(std::min(text.find_first_not_of('/', proxied.size() - 1), text.size()));
    } else if (text.starts_with(logged)) {
        const RunView model =
            TURNOUT_TRY(item_of_id(services, what.workspace, text.substr(logged.size() - 2)));
        TURNOUT_TRY(check_reads_model(services, call, *model.run));
        place = folder_of_model(*model.run);
    } else if (constexpr std::string_view registered = "models:/"; text.starts_with(registered)) {
        const std::vector<std::string> parts =
            split(std::string_view(text).substr(registered.size()), '/');
        const auto version = parts.size() == 2
                                 ? TURNOUT_TRY(services.assets.find_version(
                                       what.workspace.id, kModels, parts[0], parts[1]))
                                 : std::nullopt;
        if (!version || version->archived)
            return invalid(
                "the source '" + text.substr(0, 200) +
                    "' names no version of a registered model: expected 'models:/NAME/VERSION'",
                "source");
        return Source{version->properties.at("modelUri").as_string(),
                      version->properties.at("jobName").as_string()};
    } else if (text.starts_with(run)) {
        const std::string rest = text.substr(run.size());
        place = rest.substr(0, rest.find('/')) + "/artifacts" +
                (rest.find('/') == std::string::npos ? "" : rest.substr(rest.find('/')));
    } else if (const std::size_t runs = text.find("/runs/");
               text.starts_with("azureml://") && text.find("/artifacts") != std::string::npos &&
               runs != std::string::npos) {
        place = text.substr(runs + 6);
    } else {
        const auto reference = submission::parse_reference(text, what.workspace);
        if (!reference || reference->form != submission::Reference::Form::Path)
            return invalid("the source '" + text.substr(0, 200) +
                               "' is not among a run's artifacts: expected 'runs:/RUN/PATH', "
                               "'models:/m-ID' or an azureml:// path",
                           "source");
        return Source{long_uri(what.workspace, text), {}};
    }
    place = TURNOUT_TRY(checked_relative_path(place, "source"));
    const std::size_t slash = place.find('/');
    const std::string id = place.substr(0, slash),
                      rest = slash == std::string::npos ? "" : place.substr(slash + 1);
    if (rest != "artifacts" && !rest.starts_with("artifacts/"))
        return invalid("the source '" + text.substr(0, 200) + "' does not name a run's artifacts",
                       "source");
    const std::string inside = rest.size() > 10 ? rest.substr(10) : "";
    TURNOUT_TRY(check_reads_artifacts(services, call, id, inside));
    TURNOUT_TRY(item_of_id(services, what.workspace, id));
    std::string path = artifact_prefix(id) + inside;
    if (!path.ends_with('/')) path += '/';
    return Source{long_uri(what.workspace, "azureml://datastores/" + std::string(kArtifactStore) +
                                               "/paths/" + path),
                  id};
}

Answer create_version(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const auto tags, parse_pairs(what.given.at("tags"), "tags"));
    TURNOUT_CO_TRY_VOID(check_model_tags(tags));
    Json document;
    Catalog::AssetChange create = [&](Asset& now) -> Result<void> {
        AssetContainer* const container = TURNOUT_TRY(container_in(now, what));
        const Source source = TURNOUT_TRY(source_of(services, call, what));
        TURNOUT_TRY(check_reads_uri(services, call, what.workspace, source.uri));
        TURNOUT_TRY(upkeep::check_place_stays(services, what.workspace, source.uri));
        AssetVersion version;
        version.version = container->next_version;
        Json more = Json::object();
        more.set(kSource, what.text("source"));
        if (const std::string link = what.text("run_link"); !link.empty()) more.set(kLink, link);
        if (const std::string id = what.text("model_id"); !id.empty()) more.set(kModelId, id);
        std::string run = what.text("run_id");
        if (!run.empty() && run != source.run)
            TURNOUT_TRY(check_owns(services, call, access::action::kReadRuns, run));
        if (run.empty())
            run = source.run;
        else if (const auto there = item_of_id(services, what.workspace, run); !there)
            return invalid("run '" + run.substr(0, 100) + "' of the version does not exist",
                           "run_id");
        version.properties = Json::object({{"modelUri", source.uri},
                                           {"modelType", "mlflow_model"},
                                           {"description", what.text("description")},
                                           {"tags", with_tags(Json(), tags)},
                                           {"properties", std::move(more)},
                                           {"flavors", Json::object()},
                                           {"isArchived", false}});
        if (!run.empty()) version.properties.set("jobName", run);
        touch(services, version);
        const std::string number = version.version;
        TURNOUT_TRY(now.add(std::move(version)));
        const AssetVersion* const made = TURNOUT_TRY(now.find(number));
        document = version_document(what.workspace, *container, *made);
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(services, what, std::move(create)));
    co_return wrapped("model_version", std::move(document));
}

Answer get_version(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const AssetContainer container, container_of(services, what));
    TURNOUT_CO_TRY(const AssetVersion version,
                   version_of(services, what, container, what.text("version")));
    co_return wrapped("model_version", version_document(what.workspace, container, version));
}

Answer get_download_uri(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    TURNOUT_CO_TRY(const AssetContainer container, container_of(services, what));
    TURNOUT_CO_TRY(const AssetVersion version,
                   version_of(services, what, container, what.text("version")));
    co_return wrapped("artifact_uri", "mlflow-artifacts:/" + place_of(what.workspace, version));
}

using VersionChange = std::function<Result<void>(Asset&, AssetVersion&)>;

// One change of the version that is meant, and what it is then.
Answer answer_version(Services& services, const Asked& what, VersionChange to_be_made) {
    Json document;
    Catalog::AssetChange seen = [&](Asset& now) -> Result<void> {
        AssetVersion* const version = TURNOUT_TRY(version_in(now, what, what.text("version")));
        TURNOUT_TRY(to_be_made(now, *version));
        touch(services, *version);
        document = version_document(what.workspace, *now.container, *version);
        return {};
    };
    TURNOUT_CO_TRY_VOID(co_await change(services, what, std::move(seen)));
    co_return wrapped("model_version", std::move(document));
}

Answer update_version(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    VersionChange describe = [&](Asset&, AssetVersion& version) -> Result<void> {
        version.properties.set("description", what.text("description"));
        return {};
    };
    co_return co_await answer_version(services, what, std::move(describe));
}

Answer delete_version(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    VersionChange archive = [&](Asset& now, AssetVersion& version) -> Result<void> {
        erase_aliases(*now.container, version.version);
        touch(services, *now.container);
        version.archived = true;
        return {};
    };
    TURNOUT_CO_TRY([[maybe_unused]] const http::Response done,
                   co_await answer_version(services, what, std::move(archive)));
    co_return json_response(200, Json::object());
}

Answer tag_version(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    const bool set = call.request.method == "POST";
    TURNOUT_CO_TRY(const auto tag, asked_tag(what, set));
    VersionChange apply = [&](Asset&, AssetVersion& version) -> Result<void> {
        change_tag(version.properties, tag, set);
        return {};
    };
    TURNOUT_CO_TRY([[maybe_unused]] const http::Response done,
                   co_await answer_version(services, what, std::move(apply)));
    co_return json_response(200, Json::object());
}

Answer move_to_stage(Services& services, Call& call) {
    TURNOUT_CO_TRY(const Asked what, co_await asked(services, call));
    std::string stage;
    for (const std::string_view known : kStages)
        if (equal_ignoring_case(known, what.text("stage"))) stage = known;
    if (stage.empty())
        co_return invalid("'" + what.text("stage").substr(0, 40) +
                              "' is not a stage: expected None, Staging, Production or Archived",
                          "stage");
    const Json& archive = what.given.at("archive_existing_versions");
    if (!archive.is_null() && !archive.is_bool())
        co_return invalid(
            "'archive_existing_versions' is true or false, not " + archive.dump().substr(0, 40),
            "archive_existing_versions");
    VersionChange move = [&](Asset& now, AssetVersion& version) -> Result<void> {
        if (archive.as_bool())
            for (AssetVersion* other : TURNOUT_TRY(versions_in(now))) {
                if (other == &version ||
                    other->properties.at("properties").at(kStage).as_view() != stage)
                    continue;
                more_of(*other).set(kStage, "Archived");
                touch(services, *other);
            }
        more_of(version).set(kStage, stage);
        return {};
    };
    co_return co_await answer_version(services, what, std::move(move));
}

}  // namespace

void add_registry_rows(Router& router, Services& services) {
    constexpr std::string_view at = "/api/2.0/mlflow/";
    struct Row {
        std::string_view method, path;
        Answer (*action)(Services&, Call&);
        Access access = Access::Run;
    };
    constexpr Row rows[] = {
        {"GET", "registered-models/get", get_model},
        {"POST", "registered-models/rename", rename_model},
        {"GET", "registered-models/search", search_models},
        {"GET", "registered-models/get-latest-versions", latest_versions},
        {"POST", "registered-models/get-latest-versions", latest_versions},
        {"GET", "registered-models/alias", get_alias},
        {"GET", "model-versions/get", get_version},
        {"GET", "model-versions/search", search_versions},
        {"GET", "model-versions/get-download-uri", get_download_uri},
        {"POST", "registered-models/create", create_model},
        {"PATCH", "registered-models/update", update_model},
        {"DELETE", "registered-models/delete", delete_model, Access::Behalf},
        {"POST", "registered-models/set-tag", tag_model},
        {"DELETE", "registered-models/delete-tag", tag_model},
        {"POST", "registered-models/alias", change_alias},
        {"DELETE", "registered-models/alias", change_alias},
        {"POST", "model-versions/create", create_version},
        {"PATCH", "model-versions/update", update_version},
        {"DELETE", "model-versions/delete", delete_version, Access::Behalf},
        {"POST", "model-versions/set-tag", tag_version},
        {"DELETE", "model-versions/delete-tag", tag_version},
        {"POST", "model-versions/transition-stage", move_to_stage},
    };
    for (const Row& row : rows)
        add_mlflow_row(router, services, row.method, std::string(at) + std::string(row.path),
                       row.action, row.access);
}

}  // namespace turnout::api::mlflow
