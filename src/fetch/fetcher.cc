#include "fetch/fetcher.h"

#include <unistd.h>
#include <algorithm>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/hash.h"
#include "base/progress.h"
#include "base/text.h"
#include "fetch/part.h"
#include "io/apart.h"
#include "io/posix/files.h"
#include "protocol/blob_listing.h"

namespace turnout::fetch {
namespace {

constexpr int kAtOnce = 4;       // fetches; others wait for their turn
constexpr int kFilesAtOnce = 4;  // of one folder
constexpr int kMaxRedirects = 5;
constexpr std::size_t kPiece = 1 << 20;
constexpr std::size_t kMaxListing = 16 << 20;
constexpr std::uint64_t kLeftFree = 256 << 20;  // of the disk
constexpr Span kOldPart = std::chrono::hours(7 * 24);
constexpr std::string_view kEtag = "source_etag", kModified = "source_modified";

Failure refused(std::string reason, std::string message) {
    return fail(Code::FailedPrecondition, std::move(reason), std::move(message));
}

// It did not come in all those tries. That is no fault of who wants it, and need not be so the next
// time.
Failure not_now(std::string message) {
    return fail(Code::Unavailable, "FetchFailed", std::move(message));
}

// Trying again may help.
bool passing(const Error& error) {
    if (error.code != Code::Unavailable && error.code != Code::Ambiguous) return false;
    return !(error.reason == "HandshakeFailed" &&
             error.message.find("is not trusted") != std::string::npos);
}

bool passes(int status) {
    return status == 408 || status == 425 || status == 429 ||
           (status >= 500 && status != 501 && status != 505);
}

std::string words_of_status(int status) {
    switch (status) {
        case 401:
            return "401, it wants credentials: use a link that is signed (SAS), or data that is "
                   "public";
        case 403: return "403, it refuses access: is the link expired, or the data not public?";
        case 404: return "404, nothing is there";
        case 409: return "409, public access is not permitted there";
        case 410: return "410, it is gone";
        default: return std::to_string(status);
    }
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    const auto number = parse_whole_number(trim(text));
    if (!number || *number < 0) return std::nullopt;
    return static_cast<std::uint64_t>(*number);
}

// Of "bytes 5-9/10": where it begins.
std::optional<std::uint64_t> begin_of_range(std::string_view header) {
    if (!header.starts_with("bytes ")) return std::nullopt;
    return number_of(
        header.substr(6, header.find('-') - std::min<std::size_t>(6, header.find('-'))));
}

constexpr std::string_view kNotWanted = "NotWanted";

}  // namespace

struct Fetcher::Core {
    struct Fetch {
        std::string key, workspace;
        Source source;
        bool folder = false;
        FetchState state;
        std::string phase = "waiting for its turn among other downloads";
        std::size_t files = 0, files_done = 0;
        Span wanted_at{}, over_at{};
        Progress progress;
        std::list<std::function<void()>> waiters;  // who waits for the end
        std::set<std::string> askers;              // who has waited for it
    };
    using FetchPtr =
        std::shared_ptr<Fetch>;  // shared by the map and the coroutine that works on it

    Loop& loop;
    const Clock& clock;
    Blobs& blobs;
    FetchSettings settings;
    std::unique_ptr<http::Client> client;
    bool swept = false;
    std::map<std::string, FetchPtr> fetches;
    int running = 0;
    std::deque<Later<bool>::Settle> queue;

    Core(Loop& l, const Clock& c, Blobs& b, FetchSettings s)
        : loop(l), clock(c), blobs(b), settings(std::move(s)) {}

    // What one file adds to the bytes of its fetch.
    struct Share {
        FetchPtr fetch;
        std::uint64_t counted = 0;
        void set(std::uint64_t bytes) {
            fetch->state.done += bytes - counted;
            counted = bytes;
        }
    };
    using SharePtr = std::shared_ptr<Share>;  // by the coroutines of that file

    void forget_old();
    void say_progress(Fetch& fetch);
    std::string again_words(Span pause, int tries, const Error& error) const {
        return "trying again in " + to_words(pause) + " (try " + std::to_string(tries + 1) +
               " of " + std::to_string(settings.tries) + "): " + error.message.substr(0, 200);
    }
    Failure too_large(const Source& source, std::uint64_t size) const;
    Result<void> check_size(const Source& source, std::uint64_t size, std::uint64_t there) const;

    static Task<void> run(std::shared_ptr<Core> self, FetchPtr fetch);
    static Task<Result<void>> prepare(std::shared_ptr<Core> self);
    static Task<Result<void>> fetch_file(std::shared_ptr<Core> self, FetchPtr fetch, Source source,
                                         std::string blob);
    static Task<Result<void>> try_file(std::shared_ptr<Core> self, SharePtr share, Source source,
                                       std::string blob, std::shared_ptr<Part> part);
    static Task<Result<void>> take_body(std::shared_ptr<Core> self, SharePtr share, Source source,
                                        std::shared_ptr<Part> part, http::ClientResponse response);
    static Task<Result<void>> fetch_folder(std::shared_ptr<Core> self, FetchPtr fetch);
    static Task<Result<void>> fetch_some(
        std::shared_ptr<Core> self, FetchPtr fetch,
        std::shared_ptr<std::deque<std::pair<std::string, std::string>>> missing);
    static Task<Result<std::vector<protocol::ListedBlob>>> list(std::shared_ptr<Core> self,
                                                                FetchPtr fetch);
    static Task<Result<std::string>> get_listing(std::shared_ptr<Core> self, Source listing);
    // Follows redirections.
    static Task<Result<http::ClientResponse>> get(std::shared_ptr<Core> self, Source source,
                                                  http::Headers headers);
    void finish(Fetch& fetch, Result<void> result);
    // Somebody waits, or did a short time ago.
    bool wanted(const Fetch& fetch) const {
        return !fetch.waiters.empty() || clock.since_boot() - fetch.wanted_at <= settings.unwanted;
    }
};

// ---- asking

Fetcher::Fetcher(Loop& loop, const Clock& clock, Blobs& blobs, FetchSettings settings)
    : core_(std::make_shared<Core>(loop, clock, blobs, std::move(settings))) {}
Fetcher::~Fetcher() = default;

void Fetcher::Core::forget_old() {
    const Span now = clock.since_boot();
    std::erase_if(fetches, [&](const auto& item) {
        const Fetch& fetch = *item.second;
        if (fetch.state.kind == FetchState::Kind::Working) return false;
        if (fetch.state.error.reason == kNotWanted) return true;
        return now - fetch.over_at >=
               (fetch.state.kind == FetchState::Kind::Ready ? settings.fresh : settings.failed);
    });
}

Task<FetchState> Fetcher::ask(std::string workspace, std::string asker, Source source, bool folder,
                              Span patience) {
    const std::shared_ptr<Core> core = core_;
    core->forget_old();
    const std::string key =
        workspace + "/" +
        to_hex(sha256(source.url() + (folder ? "\nfolder" : "\nfile"))).substr(0, 32);
    Core::FetchPtr& place = core->fetches[key];
    if (place && place->state.kind == FetchState::Kind::Failed && passing(place->state.error) &&
        !place->askers.contains(asker))
        place = nullptr;
    const bool fresh = !place;
    if (fresh) {
        place = std::make_shared<Core::Fetch>();
        place->key = key.substr(workspace.size() + 1);
        place->workspace = std::move(workspace);
        place->source = std::move(source);
        place->folder = folder;
    }
    const Core::FetchPtr fetch = place;
    fetch->askers.insert(std::move(asker));
    fetch->wanted_at = core->clock.since_boot();
    if (fresh) start(Core::run(core, fetch), [] {});
    if (fetch->state.kind == FetchState::Kind::Working) {
        Later<bool> told;
        // Whichever comes first: the end, or the end of the patience.
        auto once = std::make_shared<std::optional<Later<bool>::Settle>>(told.settle());
        const auto tell = [once] {
            if (auto settle = std::exchange(*once, std::nullopt)) (*settle)(true);
        };
        const auto waiter = fetch->waiters.insert(fetch->waiters.end(), tell);
        const auto timer = core->loop.after(patience, tell);
        co_await told;
        core->loop.cancel(timer);
        if (fetch->state.kind == FetchState::Kind::Working) fetch->waiters.erase(waiter);
        fetch->wanted_at = core->clock.since_boot();
        if (fetch->state.error.reason == kNotWanted)
            co_return FetchState{};  // it asks again, and it begins anew
    }
    core->say_progress(*fetch);
    co_return fetch->state;
}

void Fetcher::Core::say_progress(Fetch& fetch) {
    if (fetch.state.kind != FetchState::Kind::Working) return;
    fetch.progress.note(clock.since_boot(), fetch.state.done);
    std::string text = "fetching " + fetch.source.shown() + ": " + fetch.phase;
    if (fetch.files > 0)
        text += ", file " + std::to_string(std::min(fetch.files, fetch.files_done + 1)) + " of " +
                std::to_string(fetch.files);
    if (const std::string words = fetch.progress.words(fetch.state.total); !words.empty())
        text += ", " + words;
    fetch.state.text = std::move(text);
}

// ---- one fetch

Task<void> Fetcher::Core::run(std::shared_ptr<Core> self, FetchPtr fetch) {
    while (self->running >= kAtOnce) {
        Later<bool> turn;
        self->queue.push_back(turn.settle());
        co_await turn;
    }
    ++self->running;
    fetch->phase = "asking " + fetch->source.host;
    Result<void> result = co_await prepare(self);
    if (result) {
        if (fetch->folder) {
            result = co_await fetch_folder(self, fetch);
        } else {
            const std::string blob = fetch->key + "/" + fetch->source.file_name();
            result = co_await fetch_file(self, fetch, fetch->source, blob);
            if (result) fetch->state.place = {fetched_container(fetch->workspace), blob};
        }
    }
    --self->running;
    if (!self->queue.empty()) {
        const auto next = self->queue.front();
        self->queue.pop_front();
        self->loop.post([next] { next(true); });
    }
    self->finish(*fetch, std::move(result));
}

void Fetcher::Core::finish(Fetch& fetch, Result<void> result) {
    fetch.state.kind = result ? FetchState::Kind::Ready : FetchState::Kind::Failed;
    if (!result) fetch.state.error = result.error();
    fetch.over_at = clock.since_boot();
    for (const auto& tell : std::exchange(fetch.waiters, {})) tell();
}

// Once in the life of a server: its folder, without what was left there long ago.
Task<Result<void>> Fetcher::Core::prepare(std::shared_ptr<Core> self) {
    if (!self->client) {
        auto made = self->settings.client();
        if (!made) co_return Failure(made.error());
        self->client = std::move(*made);
    }
    if (std::exchange(self->swept, true)) co_return {};
    const std::int64_t before = (self->clock.now() - kOldPart).micros;
    std::function<Result<void>()> sweep = [before, folder = self->settings.folder] {
        const Result<void> made = make_directories(folder, 0700);
        if (const auto entries = list_directory(folder))
            for (const DirectoryEntry& entry : *entries)
                if (entry.modified_micros < before)
                    (void)::unlink((folder + "/" + entry.name).c_str());
        return made;
    };
    co_return co_await apart(self->loop, std::move(sweep));
}

Failure Fetcher::Core::too_large(const Source& source, std::uint64_t size) const {
    return refused("InputTooLarge", "'" + source.shown() + "' has " +
                                        (size > 0 ? to_size_words(size) : "more than that") +
                                        "; the server fetches at most " +
                                        to_size_words(settings.limit) +
                                        " for an input (`turnout up --fetch-limit`)");
}

// `there` bytes of it are on the disk already.
Result<void> Fetcher::Core::check_size(const Source& source, std::uint64_t size,
                                       std::uint64_t there) const {
    if (size > settings.limit) return too_large(source, size);
    const auto left = free_space(settings.folder);
    if (left && size > there && size - there + kLeftFree > *left)
        return refused("DiskFull", "'" + source.shown() + "' has " + to_size_words(size) +
                                       " and the server's disk has only " + to_size_words(*left) +
                                       " left: free some space on the data folder's disk");
    return {};
}

Task<Result<http::ClientResponse>> Fetcher::Core::get(std::shared_ptr<Core> self, Source source,
                                                      http::Headers headers) {
    for (int hops = 0; hops <= kMaxRedirects; ++hops) {
        for (const Mirror& mirror : self->settings.mirrors)
            if (auto copy = mirror.of(source)) {
                source = std::move(*copy);
                break;
            }
        http::ClientRequest request;
        request.url = source.url();
        request.headers = headers;
        request.headers.set("User-Agent", "turnout");
        request.headers.set("Accept", "*/*");
        request.headers.set("Accept-Encoding", "identity");
        if (source.in_storage()) request.headers.set("x-ms-version", "2021-08-06");
        request.timeout = self->settings.stall;
        auto sent = co_await self->client->send(std::move(request));
        if (!sent && sent.error().code == Code::Unavailable && !passing(sent.error()))
            co_return refused("FetchFailed", "'" + source.shown() +
                                                 "' cannot be fetched: " + sent.error().message);
        if (!sent) co_return Failure(sent.error());
        auto response = std::move(*sent);
        const int status = response.status;
        if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
            co_return response;
        auto next = redirected(source, response.headers.get("Location"));
        if (!next) co_return Failure(next.error());
        source = std::move(*next);
    }
    co_return refused("TooManyRedirects", "'" + source.shown() + "' is the " +
                                              std::to_string(kMaxRedirects + 1) +
                                              "th redirection in a row: that is one too many");
}

Task<Result<void>> Fetcher::Core::fetch_file(std::shared_ptr<Core> self, FetchPtr fetch,
                                             Source source, std::string blob) {
    std::string path =
        self->settings.folder + "/" + to_hex(sha256(fetch->workspace + "/" + blob)).substr(0, 40);
    TURNOUT_CO_TRY(const auto part, co_await Part::open(self->loop, std::move(path)));
    const auto share = std::make_shared<Share>(fetch);
    Span pause = self->settings.first_pause;
    for (int tries = 1;; ++tries) {
        const std::uint64_t had = part->size();
        const Result<void> done = co_await try_file(self, share, source, blob, part);
        if (done) co_return done;
        if (part->size() > had) {  // it goes on: patience begins anew
            tries = 1;
            pause = self->settings.first_pause;
            const Result<void> synced = co_await Part::sync(part);
            if (!synced) co_return synced;
        }
        if (!passing(done.error())) {
            if (done.error().reason != kNotWanted) co_await Part::remove(part);
            co_return done;
        }
        if (tries >= self->settings.tries)
            co_return not_now("'" + source.shown() + "' could not be fetched, " +
                              std::to_string(tries) + " times in a row: " + done.error().message);
        fetch->phase = self->again_words(pause, tries, done.error());
        co_await self->loop.sleep(pause);
        pause = std::min(pause * 2, self->settings.longest_pause);
    }
}

// One request: all of it, the rest of it, or the news that it is here already.
Task<Result<void>> Fetcher::Core::try_file(std::shared_ptr<Core> self, SharePtr share,
                                           Source source, std::string blob,
                                           std::shared_ptr<Part> part) {
    const FetchPtr fetch = share->fetch;
    const std::string container = fetched_container(fetch->workspace);
    TURNOUT_CO_TRY(const auto known, self->blobs.head(container, blob));
    std::string known_etag, known_modified;
    if (known)
        for (const auto& [name, value] : known->metadata) {
            if (name == kEtag) known_etag = value;
            if (name == kModified) known_modified = value;
        }
    http::Headers headers;
    const std::uint64_t there = part->etag().empty() ? 0 : part->size();
    if (there > 0) {
        headers.set("Range", "bytes=" + std::to_string(there) + "-");
        headers.set("If-Match", part->etag());
    } else if (!known_etag.empty()) {
        headers.set("If-None-Match", known_etag);
    } else if (!known_modified.empty()) {
        headers.set("If-Modified-Since", known_modified);
    }
    share->set(there);
    TURNOUT_CO_TRY(auto response, co_await get(self, source, std::move(headers)));
    if (response.status == 304 && known && there == 0) {
        share->set(known->size);
        co_await Part::remove(part);
        co_return {};
    }
    std::string etag(response.headers.get("ETag"));
    const bool goes_on = response.status == 206 && there > 0 &&
                         begin_of_range(response.headers.get("Content-Range")) == there &&
                         etag == part->etag();
    if (!goes_on && (response.status == 412 || response.status == 416 || response.status == 206)) {
        // It has changed, or it is not what it was: the next try is for all of it.
        std::string none;  // g++ 12 destroys what is made within a co_await twice
        TURNOUT_CO_TRY_VOID(co_await Part::begin(part, std::move(none)));
        share->set(0);
        if (there > 0)
            co_return fail(Code::Unavailable, "Changed",
                           "it changed while it was fetched, and is fetched anew");
        co_return refused("FetchFailed",
                          "'" + source.shown() + "' cannot be fetched: the server there answers " +
                              std::to_string(response.status) + " to a request for all of it");
    }
    if (!goes_on && response.status != 200) {
        const std::string what = "the server there answers " + words_of_status(response.status);
        if (passes(response.status)) co_return fail(Code::Unavailable, "Status", what);
        co_return refused("FetchFailed", "'" + source.shown() + "' cannot be fetched: " + what);
    }
    // Only a strong one says that the bytes are the same.
    const bool strong = etag.starts_with('"');
    if (!goes_on) {
        std::string version = strong ? etag : std::string();
        TURNOUT_CO_TRY_VOID(co_await Part::begin(part, std::move(version)));
        share->set(0);
    }
    const auto length = number_of(response.headers.get("Content-Length"));
    const std::string modified(response.headers.get("Last-Modified"));
    std::string type(response.headers.get("Content-Type"));
    if (length) {
        const std::uint64_t size = part->size() + *length;
        TURNOUT_CO_TRY_VOID(self->check_size(source, size, part->size()));
        if (!fetch->folder) fetch->state.total = size;
    }
    fetch->phase = goes_on ? "going on where it was cut" : "receiving";
    TURNOUT_CO_TRY_VOID(co_await take_body(self, share, source, part, std::move(response)));

    fetch->phase = "taking it in";
    BlobPut put;
    put.container = container;
    put.name = blob;
    if (!type.empty() && type.size() < 200 && is_utf8(type)) put.content_type = std::move(type);
    const auto keep = [&](std::string_view name, const std::string& value) {
        if (!value.empty() && value.size() < 500 && is_utf8(value))
            put.metadata.emplace_back(name, value);
    };
    keep(kEtag, etag);
    if (etag.empty()) keep(kModified, modified);
    const Result<BlobInfo> taken = co_await self->blobs.put_file(std::move(put), part->path());
    co_await Part::remove(part);  // the store has taken the file, whatever came of it
    if (!taken && passing(taken.error()))
        co_return internal("'" + source.shown() + "' cannot be kept: " + taken.error().message);
    if (!taken) co_return Failure(taken.error());
    co_return {};
}

Task<Result<void>> Fetcher::Core::take_body(std::shared_ptr<Core> self, SharePtr share,
                                            Source source, std::shared_ptr<Part> part,
                                            http::ClientResponse response) {
    const FetchPtr fetch = share->fetch;
    // While one piece is written the next is received.
    struct Writing {
        std::optional<Result<void>> result;
        std::optional<Later<bool>::Settle> waiter;
    };
    std::shared_ptr<Writing> writing;
    const auto written = [](std::shared_ptr<Writing> one) -> Task<Result<void>> {
        if (!one) co_return {};
        if (!one->result) {
            Later<bool> over;
            one->waiter = over.settle();
            co_await over;
        }
        co_return *one->result;
    };
    std::string next;
    Result<void> outcome;
    std::uint64_t received = part->size();
    bool ended = false;
    while (!ended) {
        while (!ended && next.size() < kPiece) {
            Result<std::string> piece = co_await response.body->read();
            if (!piece) {
                outcome = Failure(piece.error());
                ended = true;
                break;
            }
            ended = piece->empty();
            received += piece->size();
            next += *piece;
            share->set(received);
        }
        // Of a folder all files count, whatever its listing said.
        if (fetch->state.done > self->settings.limit)
            outcome = self->too_large(source, 0);
        else if (const auto left = free_space(self->settings.folder); left && *left < kLeftFree)
            outcome = refused(
                "DiskFull",
                "'" + source.shown() +
                    "' has filled the server's disk: free some space on the data folder's disk");
        if (!self->wanted(*fetch))
            outcome = fail(Code::Canceled, std::string(kNotWanted), "no job asks for it any more");
        const Result<void> before_it = co_await written(std::move(writing));
        writing = nullptr;
        if (!before_it) co_return before_it;
        if (outcome || passing(outcome.error())) {
            if (!next.empty()) {
                writing = std::make_shared<Writing>();
                start(Part::append(part, std::exchange(next, {})), [writing](Result<void> result) {
                    writing->result = std::move(result);
                    if (auto waiter = std::exchange(writing->waiter, std::nullopt)) (*waiter)(true);
                });
            }
        } else {
            ended = true;
        }
    }
    const Result<void> last = co_await written(writing);
    if (!last) co_return last;
    co_return outcome;
}

// ---- folders

Task<Result<std::string>> Fetcher::Core::get_listing(std::shared_ptr<Core> self, Source listing) {
    http::Headers none;
    TURNOUT_CO_TRY(auto response, co_await get(self, listing, std::move(none)));
    if (response.status != 200) {
        const std::string what = "the server there answers " + words_of_status(response.status) +
                                 " to the question what is in it";
        if (passes(response.status)) co_return fail(Code::Unavailable, "Status", what);
        co_return refused("FetchFailed",
                          "the container of '" + listing.shown() + "' cannot be listed: " + what);
    }
    co_return co_await response.body->all(kMaxListing);
}

Task<Result<std::vector<protocol::ListedBlob>>> Fetcher::Core::list(std::shared_ptr<Core> self,
                                                                    FetchPtr fetch) {
    std::vector<protocol::ListedBlob> blobs;
    std::string marker;
    do {
        TURNOUT_CO_TRY(const Source listing, listing_of(fetch->source, marker));
        Span pause = self->settings.first_pause;
        Result<std::string> xml;
        for (int tries = 1;; ++tries) {
            xml = co_await get_listing(self, listing);
            if (xml || !passing(xml.error()) || tries >= self->settings.tries) break;
            fetch->phase = self->again_words(pause, tries, xml.error());
            co_await self->loop.sleep(pause);
            pause = std::min(pause * 2, self->settings.longest_pause);
        }
        if (!xml && passing(xml.error()))
            co_return not_now("'" + fetch->source.shown() + "' could not be listed, " +
                              std::to_string(self->settings.tries) +
                              " times in a row: " + xml.error().message);
        if (!xml) co_return Failure(xml.error());
        auto page = protocol::parse_blob_listing(*xml);
        if (!page)
            co_return refused("FetchFailed", "'" + fetch->source.shown() +
                                                 "' could not be listed: " + page.error().message);
        for (auto& blob : page->blobs) blobs.push_back(std::move(blob));
        if (blobs.size() > self->settings.files)
            co_return refused("InputTooLarge",
                              "'" + fetch->source.shown() + "' has more than " +
                                  with_commas(static_cast<std::int64_t>(self->settings.files)) +
                                  " files: name a folder within it");
        if (!page->next_marker.empty() && page->next_marker == marker)
            co_return refused("FetchFailed",
                              "the listing of '" + fetch->source.shown() + "' does not end");
        marker = std::move(page->next_marker);
        if (!self->wanted(*fetch))
            co_return fail(Code::Canceled, std::string(kNotWanted), "no job asks for it any more");
    } while (!marker.empty());
    co_return blobs;
}

Task<Result<void>> Fetcher::Core::fetch_some(
    std::shared_ptr<Core> self, FetchPtr fetch,
    std::shared_ptr<std::deque<std::pair<std::string, std::string>>> missing) {
    while (!missing->empty()) {
        const auto [there, here] = std::move(missing->front());
        missing->pop_front();
        Source blob = blob_beside(fetch->source, there);
        TURNOUT_CO_TRY_VOID(co_await fetch_file(self, fetch, std::move(blob), here));
        ++fetch->files_done;
        if (!self->wanted(*fetch))
            co_return fail(Code::Canceled, std::string(kNotWanted), "no job asks for it any more");
    }
    co_return {};
}

Task<Result<void>> Fetcher::Core::fetch_folder(std::shared_ptr<Core> self, FetchPtr fetch) {
    const std::string container = fetched_container(fetch->workspace);
    fetch->phase = "listing";
    TURNOUT_CO_TRY(const auto listed, co_await list(self, fetch));
    std::string prefix = fetch->source.name;
    while (prefix.ends_with('/')) prefix.pop_back();
    if (!prefix.empty()) prefix += '/';
    std::vector<std::pair<std::string, const protocol::ListedBlob*>>
        wanted;  // by the name in the folder
    std::uint64_t total = 0;
    for (const auto& blob : listed) {
        if (!blob.name.starts_with(prefix) || blob.name.size() == prefix.size() ||
            blob.name.ends_with('/'))
            continue;
        auto relative = checked_relative_path(std::string_view(blob.name).substr(prefix.size()),
                                              "name of a file");
        if (!relative)
            co_return refused("InvalidName",
                              "'" + fetch->source.shown() + "': " + relative.error().message);
        total += blob.size;
        wanted.emplace_back(std::move(*relative), &blob);
    }
    if (wanted.empty())
        co_return fail(Code::NotFound, "InputNotFound",
                       "'" + fetch->source.shown() + "': nothing is there");
    fetch->state.total = total;
    fetch->files = wanted.size();
    std::set<std::string> names;
    auto missing = std::make_shared<
        std::deque<std::pair<std::string, std::string>>>();  // name there and here; shared by those
                                                             // who take from it
    std::uint64_t here = 0;
    for (const auto& [relative, blob] : wanted) {
        const std::string name = fetch->key + "/" + relative;
        names.insert(name);
        if (names.size() % 256 == 0) co_await self->loop.sleep(Span{});  // others have their turn
        TURNOUT_CO_TRY(const auto known, self->blobs.head(container, name));
        // An ETag of a listing has no quotes, or has them.
        const std::string etag = blob->etag.empty() || blob->etag.starts_with('"')
                                     ? blob->etag
                                     : "\"" + blob->etag + "\"";
        const std::pair<std::string, std::string> as_kept(kEtag, etag);
        if (known && known->size == blob->size && !etag.empty() &&
            std::ranges::find(known->metadata, as_kept) != known->metadata.end())
            here += blob->size, ++fetch->files_done;
        else
            missing->emplace_back(blob->name, name);
    }
    TURNOUT_CO_TRY_VOID(self->check_size(fetch->source, total, here));
    fetch->state.done = here;
    fetch->phase = "receiving";
    struct Crew {
        std::size_t working = 0;
        Result<void> result;
        std::optional<Later<bool>::Settle> waiter;
    };
    const auto crew = std::make_shared<Crew>();  // shared with its members' ends
    for (int i = 0; i < kFilesAtOnce; ++i) {
        ++crew->working;
        start(fetch_some(self, fetch, missing), [crew, missing](Result<void> result) {
            if (!result && crew->result) {
                crew->result = std::move(result);
                missing->clear();
            }
            if (--crew->working == 0 && crew->waiter) (*crew->waiter)(true);
        });
    }
    if (crew->working > 0) {
        Later<bool> over;
        crew->waiter = over.settle();
        co_await over;
    }
    if (!crew->result) co_return crew->result;
    // What is not there any more.
    for (std::string marker;;) {
        TURNOUT_CO_TRY(const BlobList page,
                       self->blobs.list(container, fetch->key + "/", "", marker, 1000));
        for (const BlobInfo& blob : page.blobs)
            if (!names.contains(blob.name)) {
                TURNOUT_CO_TRY_VOID(co_await self->blobs.remove(container, blob.name));
            }
        marker = page.next_marker;
        if (marker.empty()) break;
    }
    fetch->state.place = {container, fetch->key + "/"};
    co_return {};
}

}  // namespace turnout::fetch
