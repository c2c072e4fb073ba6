// The subset of Azure's Blob service that its clients use; its rows are at the end. Reached by the
// links that the server signs ({origin}/blob/{container}/…) and by clients of a datastore, whose
// account name "host:port/store" makes them ask for /store.blob.store.turnout/{container}/….
#include <algorithm>
#include <charconv>

#include "api/api.h"
#include "api/blob/blob_access.h"
#include "api/blob/block_list.h"
#include "api/run_reach.h"
#include "api/upkeep/stored_use.h"
#include "base/text.h"
#include "blob/blobs.h"
#include "blob/md5_reader.h"
#include "blob/tar.h"

namespace turnout::api {
namespace {

using blob::Md5Reader;
using Answer = Result<http::Response>;

constexpr std::size_t kListPage = 5000;
constexpr Span kJustCreated = 10min;
constexpr std::size_t kMaxBlockListBytes = 8 << 20;
constexpr std::size_t kSmallPieces = 4 << 20;  // of what is told of a blob in one answer
constexpr std::size_t kInOnePiece = 64 << 10;  // blobs up to here are answered without a stream

// "Sun, 22 Nov 2026 09:30:00 GMT"
std::string http_date(Instant at) {
    static constexpr const char* days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::string iso = to_iso8601(at);
    if (iso.size() < 19 || at.micros < 0) return "Thu, 01 Jan 1970 00:00:00 GMT";
    const int month = (iso[5] - '0') * 10 + iso[6] - '0';
    return std::string(days[at.micros / 86'400'000'000 % 7]) + ", " + iso.substr(8, 2) + " " +
           months[month - 1] + " " + iso.substr(0, 4) + " " + iso.substr(11, 8) + " GMT";
}

std::string quoted(const std::string& etag) {
    return "\"" + etag + "\"";
}

int status_of(const Error& error) {
    if (error.reason == "ConditionNotMet" || error.reason == "BlobChanged") return 412;
    if (error.reason == "InvalidRange") return 416;
    if (error.reason == "DiskFull") return 507;
    if (error.reason == "RequestEntityTooLarge") return 413;
    return http_status(error.code);
}

// Azure's form of an error.
http::Response xml_error(const Error& error) {
    const std::string code = error.reason.empty() ? std::string(name_of(error.code)) : error.reason;
    http::Response response;
    response.status = status_of(error);
    response.headers.set("Content-Type", "application/xml");
    response.headers.set("x-ms-error-code", code);
    if (response.status == 401) response.headers.set("WWW-Authenticate", "Bearer");
    if (response.status == 503) response.headers.set("Retry-After", "1");
    response.body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>" + xml_escape(code) +
                    "</Code><Message>" + xml_escape(error.message) + "</Message></Error>";
    return response;
}

http::Response reply(const Call& call, int status) {
    http::Response response;
    response.status = status;
    const std::string_view version = call.request.headers.get("x-ms-version");
    const bool known = !version.empty() && version.size() <= 20;
    response.headers.set("x-ms-version", known ? std::string(version) : "2026-10-06");
    return response;
}

http::Response reply(const Call& call, int status, const BlobInfo& blob) {
    http::Response response = reply(call, status);
    response.headers.set("ETag", quoted(blob.etag));
    response.headers.set("Last-Modified", http_date(blob.modified));
    return response;
}

// What came counts for whom it is.
void count_stored(Services& services, const std::string& owner, const std::string& container,
                  std::uint64_t bytes) {
    if (services.stored) services.stored->added(owner, workspace_of_container(container), bytes);
}

// ---- what the request says ----

std::vector<std::pair<std::string, std::string>> metadata_of(const http::Request& request) {
    constexpr std::string_view prefix = "x-ms-meta-";
    std::vector<std::pair<std::string, std::string>> metadata;
    for (const auto& [name, value] : request.headers.all())
        if (name.size() > prefix.size() &&
            equal_ignoring_case(std::string_view(name).substr(0, prefix.size()), prefix))
            metadata.emplace_back(to_lower(std::string_view(name).substr(prefix.size())), value);
    return metadata;
}

std::string_view unquoted(std::string_view etag) {
    etag = trim(etag);
    if (etag.starts_with("W/")) etag.remove_prefix(2);
    if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
        etag = etag.substr(1, etag.size() - 2);
    return etag;
}

// Is that ETag in the list of an If-Match or If-None-Match header?
bool names_etag(std::string_view header, std::string_view etag) {
    for (const std::string& item : split(header, ','))
        if (const std::string_view one = unquoted(item); one == "*" || one == etag) return true;
    return false;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
        return std::nullopt;
    return number;
}

struct Piece {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

// The piece that Range asks for; nothing if the header is absent or of a form that is not served,
// which by HTTP's rules means the whole.
Result<std::optional<Piece>> range_of(const http::Request& request, std::uint64_t size) {
    std::string_view header = request.headers.get("x-ms-range");
    if (header.empty()) header = request.headers.get("range");
    if (!header.starts_with("bytes=")) return std::nullopt;
    header.remove_prefix(6);
    const std::size_t dash = header.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const std::string_view from_text = trim(header.substr(0, dash));
    const std::string_view to_text = trim(header.substr(dash + 1));
    const auto from = number_in(from_text), to = number_in(to_text);
    if ((!from_text.empty() && !from) || (!to_text.empty() && !to) || (!from && !to))
        return std::nullopt;
    if (from && to && *to < *from) return std::nullopt;
    if (from ? *from >= size : (*to == 0 || size == 0))
        return fail(Code::InvalidArgument, "InvalidRange",
                    "the range begins behind the end of the blob", "Range");
    if (!from) return Piece{size - std::min(*to, size), std::min(*to, size)};  // the last so many
    const std::uint64_t last = std::min(to.value_or(size - 1), size - 1);
    return Piece{*from, last - *from + 1};
}

Failure bad_query(const std::string& parameter, std::string why) {
    return fail(Code::InvalidArgument, "InvalidQueryParameterValue", std::move(why), parameter);
}

// ---- blobs ----

void describe(http::Response& response, const BlobInfo& blob) {
    response.headers.set("Content-Type", blob.content_type);
    // Its type is whatever its writer said: no browser lets it act on the server's origin.
    response.headers.set("X-Content-Type-Options", "nosniff");
    response.headers.set("Content-Security-Policy", "default-src 'none'; sandbox");
    response.headers.set("Accept-Ranges", "bytes");
    response.headers.set("x-ms-blob-type", "BlockBlob");
    response.headers.set("x-ms-creation-time", http_date(blob.created));
    for (const auto& [name, value] : blob.metadata)
        response.headers.add("x-ms-meta-" + name, value);
}

// If-Match of a read. A log that has grown still serves what it was: its ETag is its length.
Result<void> pin(const http::Request& request, BlobInfo& blob) {
    const std::string_view if_match = request.headers.get("if-match");
    if (if_match.empty() || names_etag(if_match, blob.etag)) return {};
    const auto length = number_in(unquoted(if_match));
    if (!blob.sha256.empty() || !length || *length > blob.size)
        return fail(Code::Conflict, "ConditionNotMet",
                    "the blob is not the one that If-Match names");
    blob.size = *length;
    blob.etag = std::string(unquoted(if_match));
    return {};
}

Answer get_blob(Services& services, const Call& call) {
    const std::string& container = call.param("container");
    const std::string& name = call.param("name");
    TURNOUT_TRY(authorize_blob(services, call, container, name, 'r'));
    const std::string comp(call.query_value("comp"));
    if (!comp.empty() && comp != "metadata")
        return bad_query("comp", "GET with comp=" + comp + " is not served here");
    auto found = TURNOUT_TRY(services.blobs.head(container, name));
    if (!found)
        return fail(Code::NotFound, "BlobNotFound",
                    "blob '" + name + "' does not exist in container '" + container + "'");
    BlobInfo blob = std::move(*found);
    TURNOUT_TRY(pin(call.request, blob));
    const std::string_view if_none_match = call.request.headers.get("if-none-match");
    if (!if_none_match.empty() && names_etag(if_none_match, blob.etag))
        return reply(call, 304, blob);

    const bool head = call.request.method == "HEAD";
    std::optional<Piece> range;
    if (!head) range = TURNOUT_TRY(range_of(call.request, blob.size));
    const Piece piece = range.value_or(Piece{0, blob.size});
    http::Response response = reply(call, range ? 206 : 200, blob);
    describe(response, blob);
    if (range)
        response.headers.set("Content-Range", "bytes " + std::to_string(piece.offset) + "-" +
                                                  std::to_string(piece.offset + piece.length - 1) +
                                                  "/" + std::to_string(blob.size));
    response.length = piece.length;
    if (head) return response;
    if (blob.size <= kInOnePiece && !blob.sha256.empty()) {
        response.body = TURNOUT_TRY(services.blobs.read_all(container, name, kInOnePiece));
        if (range) response.body = response.body.substr(piece.offset, piece.length);
    } else {
        response.stream = TURNOUT_TRY(services.blobs.read(blob, piece.offset, piece.length));
    }
    return response;
}

BlobPut put_of(const Call& call) {
    const http::Headers& headers = call.request.headers;
    BlobPut what;
    what.container = call.param("container");
    what.name = call.param("name");
    what.content_type = headers.get("x-ms-blob-content-type");
    if (what.content_type.empty()) what.content_type = headers.get("content-type");
    what.metadata = metadata_of(call.request);
    return what;
}

// If-Match and If-None-Match of a write, as conditions of its commit.
Result<void> set_conditions(Services& services, const Call& call, BlobPut& what) {
    const std::string_view if_match = call.request.headers.get("if-match");
    const std::string_view if_none_match = call.request.headers.get("if-none-match");
    if (if_match.empty() && if_none_match.empty()) return {};
    if (trim(if_none_match) == "*") {
        what.only_if_absent = true;
        return {};
    }
    const auto found = TURNOUT_TRY(services.blobs.head(what.container, what.name));
    if ((!if_match.empty() && (!found || !names_etag(if_match, found->etag))) ||
        (!if_none_match.empty() && found && names_etag(if_none_match, found->etag)))
        return fail(Code::Conflict, "ConditionNotMet",
                    "the blob is not in the state that If-Match or If-None-Match asks for");
    if (found) what.only_if_etag = found->etag;
    return {};
}

// The right to write this; a right to create only makes the write conditional.
Result<void> authorize_put(Services& services, const Call& call, BlobPut& what) {
    auto may = authorize_blob(services, call, what.container, what.name, 'w');
    if (may || may.error().code != Code::PermissionDenied) return may;
    if (!authorize_blob(services, call, what.container, what.name, 'c')) return may;
    what.only_if_absent = true;
    return {};
}

// Within a container: what is named is read by whoever writes.
Task<Answer> copy_blob(Services& services, Call& call, BlobPut what) {
    const std::string_view source = call.request.headers.get("x-ms-copy-source");
    const std::string_view address = source.substr(0, source.find('?'));
    const std::size_t host = address.find("://"),
                      path = host == std::string_view::npos ? host : address.find('/', host + 3);
    const std::string inside = "/" + what.container + "/";
    const std::size_t at = path == std::string_view::npos ? path : address.find(inside, path);
    if (at == std::string_view::npos ||
        !equal_ignoring_case(address.substr(host + 3, path - host - 3),
                             call.request.headers.get("host")))
        co_return fail(Code::InvalidArgument, "CannotVerifyCopySource",
                       "only blobs of the same container are copied here; download and upload",
                       "x-ms-copy-source");
    TURNOUT_CO_TRY(std::string name, percent_decode(address.substr(at + inside.size())));
    TURNOUT_CO_TRY_VOID(authorize_blob(services, call, what.container, name, 'r'));
    what.content_type = call.request.headers.get("x-ms-blob-content-type");
    TURNOUT_CO_TRY(const BlobInfo blob,
                   co_await services.blobs.copy(std::move(what), std::move(name)));
    http::Response response = reply(call, 202, blob);
    response.headers.set("x-ms-copy-status", "success");
    response.headers.set("x-ms-copy-id", services.random.uuid());
    co_return response;
}

Task<Answer> put_whole(Services& services, Call& call, BlobPut what) {
    const http::Headers& headers = call.request.headers;
    if (headers.has("x-ms-copy-source"))
        co_return co_await copy_blob(services, call, std::move(what));
    const std::string type(headers.get("x-ms-blob-type"));
    if (type.empty())
        co_return fail(Code::InvalidArgument, "MissingRequiredHeader",
                       "the header 'x-ms-blob-type: BlockBlob' is required", "x-ms-blob-type");
    if (!equal_ignoring_case(type, "BlockBlob"))
        co_return fail(Code::InvalidArgument, "UnsupportedBlobType",
                       "only block blobs are served here, not '" + type + "'", "x-ms-blob-type");
    what.content_md5 = headers.get("content-md5");
    TURNOUT_CO_TRY(const BlobInfo blob, co_await services.blobs.put(std::move(what), call.body));
    count_stored(services, blob.owner, blob.container, blob.size);
    co_return reply(call, 201, blob);
}

Task<Answer> put_block(Services& services, Call& call, BlobPut what) {
    auto id = from_base64(call.query_value("blockid"));
    if (!id || id->empty() || id->size() > 64)
        co_return fail(Code::InvalidArgument, "InvalidBlockId",
                       "blockid is the base64 of 1 to 64 bytes", "blockid");
    Md5Reader body(call.body, std::string(call.request.headers.get("content-md5")));
    const std::string owner = what.owner, container = what.container;
    TURNOUT_CO_TRY_VOID(co_await services.blobs.put_block(
        std::move(what.container), std::move(what.name), std::move(*id), body));
    count_stored(services, owner, container, call.request.content_length.value_or(0));
    co_return reply(call, 201);
}

Task<Answer> put_block_list(Services& services, Call& call, BlobPut what) {
    Md5Reader body(call.body, std::string(call.request.headers.get("content-md5")));
    // What the header Content-Type speaks of here is this list.
    what.content_type = call.request.headers.get("x-ms-blob-content-type");
    TURNOUT_CO_TRY(const std::string xml, co_await body.all(kMaxBlockListBytes));
    TURNOUT_CO_TRY(std::vector<std::string> ids, parse_block_list(xml));
    TURNOUT_CO_TRY(const BlobInfo blob,
                   co_await services.blobs.put_block_list(std::move(what), std::move(ids)));
    co_return reply(call, 201, blob);
}

Task<Answer> put_metadata(Services& services, Call& call, BlobPut what) {
    TURNOUT_CO_TRY_VOID(set_conditions(services, call, what));
    TURNOUT_CO_TRY(const BlobInfo blob,
                   co_await services.blobs.set_metadata(
                       std::move(what.container), std::move(what.name), std::move(what.metadata),
                       std::move(what.only_if_etag)));
    co_return reply(call, 200, blob);
}

Task<Answer> put_blob(Services& services, Call& call) {
    BlobPut what = put_of(call);
    const std::string comp(call.query_value("comp"));
    TURNOUT_CO_TRY_VOID(authorize_put(services, call, what));
    what.owner = storer_of(services, call);
    if (comp == "block" || (comp.empty() && !call.request.headers.has("x-ms-copy-source"))) {
        TURNOUT_CO_TRY_VOID(co_await check_stored(services, call,
                                                  workspace_of_container(what.container),
                                                  call.request.content_length.value_or(0)));
    }
    if (comp == "block") co_return co_await put_block(services, call, std::move(what));
    if (comp == "metadata") {
        // Who may only create may say what it has created, once, and soon: not of what others have.
        TURNOUT_CO_TRY(const auto found, services.blobs.head(what.container, what.name));
        if (what.only_if_absent && found) {
            if (!found->metadata.empty() || services.clock.now() - found->created > kJustCreated)
                co_return Failure(
                    authorize_blob(services, call, what.container, what.name, 'w').error());
            what.only_if_etag = found->etag;
        }
        co_return co_await put_metadata(services, call, std::move(what));
    }
    if (!comp.empty() && comp != "blocklist")
        co_return bad_query("comp", "PUT with comp=" + comp + " is not served here");
    TURNOUT_CO_TRY_VOID(set_conditions(services, call, what));
    if (comp == "blocklist") co_return co_await put_block_list(services, call, std::move(what));
    co_return co_await put_whole(services, call, std::move(what));
}

Task<Answer> delete_blob(Services& services, Call& call) {
    BlobPut what = put_of(call);
    TURNOUT_CO_TRY_VOID(authorize_blob(services, call, what.container, what.name, 'd'));
    TURNOUT_CO_TRY_VOID(set_conditions(services, call, what));
    TURNOUT_CO_TRY_VOID(co_await services.blobs.remove(
        std::move(what.container), std::move(what.name), std::move(what.only_if_etag)));
    http::Response response = reply(call, 202);
    response.headers.set("x-ms-delete-type-permanent", "true");
    co_return response;
}

// ---- containers ----

void append_element(std::string& xml, std::string_view name, std::string_view text) {
    xml.append("<").append(name).append(">").append(xml_escape(text));
    xml.append("</").append(name).append(">");
}

void append_blob(std::string& xml, const BlobInfo& blob, bool with_metadata) {
    xml += "<Blob>";
    append_element(xml, "Name", blob.name);
    xml += "<Properties>";
    append_element(xml, "Creation-Time", http_date(blob.created));
    append_element(xml, "Last-Modified", http_date(blob.modified));
    append_element(xml, "Etag", blob.etag);
    append_element(xml, "Content-Length", std::to_string(blob.size));
    append_element(xml, "Content-Type", blob.content_type);
    append_element(xml, "BlobType", "BlockBlob");
    xml += "</Properties>";
    if (with_metadata) {
        xml += "<Metadata>";
        for (const auto& [name, value] : blob.metadata) append_element(xml, name, value);
        xml += "</Metadata>";
    }
    xml += "</Blob>";
}

struct Asked {
    const std::string &container, &prefix, &delimiter, &marker;
    std::size_t limit;
};

// That name, and what is beneath it as a folder.
Result<BlobList> list_beneath(Services& services, const Asked& asked) {
    const std::string folder = asked.prefix + "/";
    const bool flat = asked.delimiter.empty();
    BlobList list = TURNOUT_TRY(services.blobs.list(
        asked.container, folder, "", flat ? asked.marker : "", flat ? asked.limit : 1));
    if (!flat) {
        const bool any = !list.blobs.empty();
        list = {};
        if (any) list.prefixes.push_back(folder);
    }
    if (asked.marker.empty())
        if (auto exact = TURNOUT_TRY(services.blobs.head(asked.container, asked.prefix)))
            list.blobs.insert(list.blobs.begin(), std::move(*exact));
    return list;
}

// Where a list goes on that leaves out the folder of jobs or uploads in which that would be.
std::string behind_guarded(std::string marker) {
    std::string folder(access::guarded_folder(marker));
    if (folder.empty()) return marker;
    folder.back() = '/' + 1;
    return folder;
}

// All but what is in those folders.
Result<BlobList> list_but_jobs(Services& services, const Asked& asked) {
    BlobList list;
    list.next_marker = behind_guarded(asked.marker);
    do {
        BlobList page = TURNOUT_TRY(
            services.blobs.list(asked.container, asked.prefix, asked.delimiter, list.next_marker,
                                asked.limit - list.blobs.size() - list.prefixes.size()));
        list.next_marker = behind_guarded(std::move(page.next_marker));
        for (BlobInfo& blob : page.blobs)
            if (access::guarded_folder(blob.name).empty()) list.blobs.push_back(std::move(blob));
        for (std::string& folder : page.prefixes)
            if (access::guarded_folder(folder).empty()) list.prefixes.push_back(std::move(folder));
    } while (!list.next_marker.empty() && list.blobs.size() + list.prefixes.size() < asked.limit);
    return list;
}

// What whoever asks may see of it; that they may see some was looked at.
Result<BlobList> list_shown(Services& services, const Call& call, Asked asked) {
    switch (TURNOUT_TRY(listed_for(services, call, asked.container, asked.prefix))) {
        case access::Listed::ThatAndBeneath: return list_beneath(services, asked);
        case access::Listed::ButJobs: return list_but_jobs(services, asked);
        case access::Listed::Everything:
        case access::Listed::Nothing: break;
    }
    return services.blobs.list(asked.container, asked.prefix, asked.delimiter, asked.marker,
                               asked.limit);
}

Answer list_blobs(Services& services, const Call& call) {
    const std::string& container = call.param("container");
    const std::string prefix(call.query_value("prefix"));
    const std::string delimiter(call.query_value("delimiter"));
    const std::string marker(call.query_value("marker"));
    TURNOUT_TRY(authorize_blob(services, call, container, prefix, 'l'));
    std::size_t limit = kListPage;
    if (const std::string_view text = call.query_value("maxresults"); !text.empty()) {
        const auto number = number_in(text);
        if (!number || *number == 0)
            return bad_query("maxresults", "maxresults is a number from 1 to 5000");
        limit = static_cast<std::size_t>(std::min<std::uint64_t>(*number, kListPage));
    }
    bool with_metadata = false;
    for (const std::string& item : split(call.query_value("include"), ','))
        if (equal_ignoring_case(trim(item), "metadata")) with_metadata = true;

    const BlobList list =
        TURNOUT_TRY(list_shown(services, call, {container, prefix, delimiter, marker, limit}));
    std::string xml =
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"" +
        xml_escape(call.origin) + "/\" ContainerName=\"" + xml_escape(container) + "\">";
    append_element(xml, "Prefix", prefix);
    append_element(xml, "Marker", marker);
    append_element(xml, "MaxResults", std::to_string(limit));
    if (!delimiter.empty()) append_element(xml, "Delimiter", delimiter);
    xml += "<Blobs>";
    for (const BlobInfo& blob : list.blobs) append_blob(xml, blob, with_metadata);
    for (const std::string& folder : list.prefixes) {
        xml += "<BlobPrefix>";
        append_element(xml, "Name", folder);
        xml += "</BlobPrefix>";
    }
    xml += "</Blobs>";
    append_element(xml, "NextMarker", list.next_marker);
    xml += "</EnumerationResults>";
    http::Response response = reply(call, 200);
    response.headers.set("Content-Type", "application/xml");
    response.body = std::move(xml);
    return response;
}

Result<void> check_restype(const Call& call) {
    if (call.query_value("restype") == "container") return {};
    return bad_query("restype",
                     "this path is a container: add restype=container, or the name of a blob");
}

Answer get_container(Services& services, const Call& call) {
    const std::string& container = call.param("container");
    const std::string comp(call.query_value("comp"));
    if (comp == "list" && call.request.method != "HEAD") {
        auto list = list_blobs(services, call);  // first says whether the caller may
        if (list) TURNOUT_TRY(check_restype(call));
        return list;
    }
    // To a run of the workspace it says nothing but that it is there.
    if (call.principal.kind != Principal::Kind::Run ||
        workspace_of_container(container) != call.principal.workspace) {
        auto may = authorize_blob(services, call, container, "", 'r');
        if (!may) may = authorize_blob(services, call, container, "", 'l');
        if (!may) return Failure(may.error());
    }
    TURNOUT_TRY(check_restype(call));
    TURNOUT_TRY(check_container(container));
    if (!comp.empty() && comp != "metadata")
        return bad_query("comp", "GET with comp=" + comp + " is not served here");
    // Every container of a workspace is there: its first blob makes it.
    http::Response response = reply(call, 200);
    response.headers.set("ETag", "\"0x0\"");
    response.headers.set("Last-Modified", http_date(Instant{}));
    response.headers.set("x-ms-lease-status", "unlocked");
    response.headers.set("x-ms-lease-state", "available");
    return response;
}

Task<Answer> put_container(Services& services, Call& call) {
    const std::string container = call.param("container");
    TURNOUT_CO_TRY_VOID(authorize_blob(services, call, container, "", 'c'));
    TURNOUT_CO_TRY_VOID(check_restype(call));
    if (!call.query_value("comp").empty())
        co_return bad_query("comp", "PUT of a container takes no comp here");
    TURNOUT_CO_TRY(const bool created, co_await services.blobs.create_container(container));
    if (!created)
        co_return fail(Code::Conflict, "ContainerAlreadyExists",
                       "container '" + container + "' already exists");
    http::Response response = reply(call, 201);
    response.headers.set("ETag", "\"0x0\"");
    response.headers.set("Last-Modified", http_date(services.clock.now()));
    co_return response;
}

// ---- nodes ----

Answer get_tar(Services& services, const Call& call) {
    const std::string& container = call.param("container");
    std::string prefix(call.query_value("prefix"));
    // A folder: what a run may see of it, it may read.
    const bool run = call.principal.kind == Principal::Kind::Run;
    TURNOUT_TRY(authorize_blob(services, call, container, prefix, run ? 'l' : 'r'));
    if (run &&
        TURNOUT_TRY(listed_for(services, call, container, prefix)) == access::Listed::ButJobs)
        return fail(Code::PermissionDenied, "AuthorizationFailure",
                    "the token of a job does not reach all of this");
    TURNOUT_TRY(check_container(container));
    http::Response response;
    response.headers.set("Content-Type", "application/x-tar");
    response.stream = blob::tar_of(services.blobs, container, std::move(prefix));
    return response;
}

// Where a blob's content is on this machine's disk, for the agents of this machine.
Answer get_pieces(Services& services, const Call& call) {
    const std::string& container = call.param("container");
    const std::string name(call.query_value("name"));
    TURNOUT_TRY(authorize_blob(services, call, container, name, 'r'));
    const auto found = TURNOUT_TRY(services.blobs.head(container, name));
    if (!found || call.request.peer.carrier != http::Carrier::Unix || found->sha256.empty())
        return fail(Code::NotFound, "BlobNotFound", "blob '" + name + "' is not on this machine");
    const auto pieces = TURNOUT_TRY(services.blobs.pieces(*found));
    Json list = Json::array();
    std::size_t small = 0;
    for (const Blobs::Piece& piece : pieces) {
        Json json = Json::object({{"size", static_cast<std::int64_t>(piece.size)}});
        if (piece.file.empty())
            json.set("bytes", to_base64(piece.bytes));
        else
            json.set("file", piece.file);
        small += piece.bytes.size();
        list.push(std::move(json));
        if (small > kSmallPieces)
            return fail(Code::NotFound, "BlobNotFound",
                        "blob '" + name + "' is in many small pieces");
    }
    return json_response(200, Json::object({{"etag", found->etag}, {"pieces", std::move(list)}}));
}

// ---- rows ----

// Errors leave in Azure's form, not in ARM's.
Task<Answer> answered(Task<Answer> task) {
    auto answer = co_await std::move(task);
    if (!answer) co_return xml_error(answer.error());
    co_return std::move(answer);
}

Task<Answer> at_once(Services& services, Call& call, Answer (*action)(Services&, const Call&)) {
    auto answer = action(services, call);
    if (!answer) co_return xml_error(answer.error());
    co_return std::move(answer);
}

Action row(Services& services, Task<Answer> (*action)(Services&, Call&)) {
    return [&services, action](Call& call) { return answered(action(services, call)); };
}

Action row(Services& services, Answer (*action)(Services&, const Call&)) {
    return [&services, action](Call& call) { return at_once(services, call, action); };
}

}  // namespace

void add_blob_routes(Router& router, Services& services) {
    for (const std::string base : {"/blob/{container}", "/store.blob.store.turnout/{container}"}) {
        const std::string blob = base + "/{name...}";
        router.add("GET", base, Access::Signed, row(services, get_container));
        router.add("PUT", base, Access::Signed, row(services, put_container));
        router.add("GET", blob, Access::Signed, row(services, get_blob));
        router.add("HEAD", blob, Access::Signed, row(services, get_blob));
        router.add("PUT", blob, Access::Signed, row(services, put_blob));
        router.add("DELETE", blob, Access::Signed, row(services, delete_blob));
    }
    router.add("GET", "/turnout/blobs/{container}/tar", Access::Signed, row(services, get_tar));
    router.add("GET", "/turnout/blobs/{container}/pieces", Access::Signed,
               row(services, get_pieces));
}

}  // namespace turnout::api
