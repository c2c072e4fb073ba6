#include "store/sqlite/unsynced_vfs.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "base/result.h"

namespace turnout {
namespace {

constexpr std::size_t kSector = 512;

// One change of a file that may not survive.
struct Change {
    std::uint64_t offset = 0;
    std::string bytes;
    std::optional<std::uint64_t> truncate;  // instead: the new size
};

struct File {
    std::string content;  // what everybody sees
    std::string durable;  // what is on the platter
    std::vector<Change> pending;
    bool ever_synced = false;
    bool removed = false;
    // Locks of the rollback protocol and of the WAL's index, by count of holders.
    int shared = 0;
    bool reserved = false, pending_lock = false, exclusive = false;
    std::vector<std::unique_ptr<std::array<char, 32768>>> index;
    std::array<int, SQLITE_SHM_NLOCK> index_shared{};
    std::array<bool, SQLITE_SHM_NLOCK> index_exclusive{};
    int index_users = 0;
};

void change_content(std::string& content, const Change& change) {
    if (change.truncate) {
        content.resize(static_cast<std::size_t>(*change.truncate));
        return;
    }
    const std::size_t end = static_cast<std::size_t>(change.offset) + change.bytes.size();
    if (content.size() < end) content.resize(end);
    content.replace(static_cast<std::size_t>(change.offset), change.bytes.size(), change.bytes);
}

}  // namespace

struct UnsyncedVfs::Disk {
    std::mutex mutex;
    std::string name;
    sqlite3_vfs vfs{};
    std::map<std::string, std::shared_ptr<File>> files;  // shared: with the open handles
    std::uint64_t random;
    std::uint64_t operations = 0;
    std::uint64_t cut_at = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t capacity = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t temporary = 0;

    std::uint64_t next() {  // splitmix64
        std::uint64_t z = random += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    // Counts a change; false if there is no power for it.
    bool powered() { return operations++ < cut_at; }
    std::uint64_t used() const {
        std::uint64_t bytes = 0;
        for (const auto& [path, file] : files) bytes += file->content.size();
        return bytes;
    }
};

namespace {

using Disk = UnsyncedVfs::Disk;

struct Handle {
    sqlite3_file base;
    Disk* disk;
    std::shared_ptr<File> file;
    std::string path;
    int lock;
    bool delete_on_close;
    bool index_open;
    std::array<bool, SQLITE_SHM_NLOCK> index_shared, index_exclusive;
};
Handle& handle(sqlite3_file* file) {
    return *reinterpret_cast<Handle*>(file);
}
Disk& disk_of(sqlite3_vfs* vfs) {
    return *static_cast<Disk*>(vfs->pAppData);
}

int write_file(sqlite3_file* base, const void* bytes, int size, sqlite3_int64 offset) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    Change change{static_cast<std::uint64_t>(offset),
                  std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size)),
                  std::nullopt};
    const std::uint64_t end = change.offset + change.bytes.size();
    if (end > self.file->content.size() &&
        self.disk->used() + end - self.file->content.size() > self.disk->capacity)
        return SQLITE_FULL;
    const bool powered = self.disk->powered();
    if (!powered && self.disk->operations - 1 > self.disk->cut_at) return SQLITE_IOERR_WRITE;
    change_content(self.file->content,
                   change);  // the very write that the cut hits may be on its way
    self.file->pending.push_back(std::move(change));
    return powered ? SQLITE_OK : SQLITE_IOERR_WRITE;
}

int read_file(sqlite3_file* base, void* bytes, int size, sqlite3_int64 offset) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    const std::string& content = self.file->content;
    const auto from = std::min(static_cast<std::size_t>(offset), content.size());
    const std::size_t count = std::min(static_cast<std::size_t>(size), content.size() - from);
    std::memcpy(bytes, content.data() + from, count);
    if (count == static_cast<std::size_t>(size)) return SQLITE_OK;
    std::memset(static_cast<char*>(bytes) + count, 0, static_cast<std::size_t>(size) - count);
    return SQLITE_IOERR_SHORT_READ;
}

int truncate_file(sqlite3_file* base, sqlite3_int64 size) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    if (!self.disk->powered()) return SQLITE_IOERR_TRUNCATE;
    Change change;
    change.truncate = static_cast<std::uint64_t>(size);
    change_content(self.file->content, change);
    self.file->pending.push_back(std::move(change));
    return SQLITE_OK;
}

int sync_file(sqlite3_file* base, int) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    if (!self.disk->powered()) return SQLITE_IOERR_FSYNC;
    for (const Change& change : self.file->pending) change_content(self.file->durable, change);
    self.file->pending.clear();
    self.file->ever_synced = true;
    return SQLITE_OK;
}

int size_of_file(sqlite3_file* base, sqlite3_int64* size) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    *size = static_cast<sqlite3_int64>(self.file->content.size());
    return SQLITE_OK;
}

int lock_file(sqlite3_file* base, int wanted) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    File& file = *self.file;
    if (wanted <= self.lock) return SQLITE_OK;
    if (wanted == SQLITE_LOCK_SHARED) {
        if (file.pending_lock || file.exclusive) return SQLITE_BUSY;
        ++file.shared;
    } else if (wanted == SQLITE_LOCK_RESERVED) {
        if (file.reserved) return SQLITE_BUSY;
        file.reserved = true;
    } else {
        if (self.lock < SQLITE_LOCK_RESERVED && file.reserved) return SQLITE_BUSY;
        file.reserved = true;
        file.pending_lock = true;
        if (file.shared > 1) {
            self.lock = SQLITE_LOCK_PENDING;
            return SQLITE_BUSY;
        }
        file.exclusive = true;
    }
    self.lock = wanted;
    return SQLITE_OK;
}

int unlock_file(sqlite3_file* base, int wanted) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    File& file = *self.file;
    if (self.lock <= wanted) return SQLITE_OK;
    if (self.lock > SQLITE_LOCK_SHARED) file.reserved = file.pending_lock = file.exclusive = false;
    if (wanted == SQLITE_LOCK_NONE) --file.shared;
    self.lock = wanted;
    return SQLITE_OK;
}

int check_reserved_lock(sqlite3_file* base, int* result) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    *result = self.file->reserved ? 1 : 0;
    return SQLITE_OK;
}

int control_file(sqlite3_file*, int, void*) {
    return SQLITE_NOTFOUND;
}
int sector_size(sqlite3_file*) {
    return kSector;
}
int characteristics(sqlite3_file*) {
    return 0;
}

int map_index(sqlite3_file* base, int region, int size, int extend, void volatile** mapped) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    File& file = *self.file;
    if (!self.index_open) {
        self.index_open = true;
        ++file.index_users;
    }
    *mapped = nullptr;
    TURNOUT_CHECK(size == 32768, "the WAL's index has other regions than expected");
    const auto wanted = static_cast<std::size_t>(region);
    if (file.index.size() <= wanted && !extend) return SQLITE_OK;
    while (file.index.size() <= wanted) {
        file.index.push_back(std::make_unique<std::array<char, 32768>>());
        file.index.back()->fill(0);
    }
    *mapped = file.index[wanted]->data();
    return SQLITE_OK;
}

int lock_index(sqlite3_file* base, int first, int count, int flags) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    File& file = *self.file;
    const auto from = static_cast<std::size_t>(first), to = static_cast<std::size_t>(first + count);
    if (flags & SQLITE_SHM_UNLOCK) {
        for (std::size_t i = from; i < to; ++i) {
            if (self.index_shared[i]) --file.index_shared[i];
            if (self.index_exclusive[i]) file.index_exclusive[i] = false;
            self.index_shared[i] = self.index_exclusive[i] = false;
        }
        return SQLITE_OK;
    }
    const bool exclusive = flags & SQLITE_SHM_EXCLUSIVE;
    for (std::size_t i = from; i < to; ++i) {
        if (file.index_exclusive[i] && !self.index_exclusive[i]) return SQLITE_BUSY;
        if (exclusive && file.index_shared[i] > (self.index_shared[i] ? 1 : 0)) return SQLITE_BUSY;
    }
    for (std::size_t i = from; i < to; ++i) {
        if (exclusive) {
            self.index_exclusive[i] = file.index_exclusive[i] = true;
        } else if (!self.index_shared[i]) {
            self.index_shared[i] = true;
            ++file.index_shared[i];
        }
    }
    return SQLITE_OK;
}

void index_barrier(sqlite3_file*) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
}

int unmap_index(sqlite3_file* base, int) {
    Handle& self = handle(base);
    std::lock_guard lock(self.disk->mutex);
    if (!std::exchange(self.index_open, false)) return SQLITE_OK;
    File& file = *self.file;
    for (std::size_t i = 0; i < SQLITE_SHM_NLOCK; ++i) {
        if (self.index_shared[i]) --file.index_shared[i];
        if (self.index_exclusive[i]) file.index_exclusive[i] = false;
        self.index_shared[i] = self.index_exclusive[i] = false;
    }
    // As with real files, the last one to go takes the index along.
    if (--file.index_users == 0) file.index.clear();
    return SQLITE_OK;
}

int close_file(sqlite3_file* base) {
    unmap_index(base, 0);
    unlock_file(base, SQLITE_LOCK_NONE);
    Handle& self = handle(base);
    if (self.delete_on_close) {
        std::lock_guard lock(self.disk->mutex);
        self.disk->files.erase(self.path);
    }
    self.~Handle();
    return SQLITE_OK;
}

const sqlite3_io_methods& methods() {
    static const sqlite3_io_methods table = {2,
                                             close_file,
                                             read_file,
                                             write_file,
                                             truncate_file,
                                             sync_file,
                                             size_of_file,
                                             lock_file,
                                             unlock_file,
                                             check_reserved_lock,
                                             control_file,
                                             sector_size,
                                             characteristics,
                                             map_index,
                                             lock_index,
                                             index_barrier,
                                             unmap_index,
                                             nullptr,
                                             nullptr};
    return table;
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* base, int flags, int* out_flags) {
    Disk& disk = disk_of(vfs);
    std::lock_guard lock(disk.mutex);
    base->pMethods = nullptr;
    const std::string path = name ? name : "temporary-" + std::to_string(++disk.temporary);
    auto found = disk.files.find(path);
    if (found == disk.files.end()) {
        if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
        if (!disk.powered()) return SQLITE_IOERR;
        found = disk.files.emplace(path, std::make_shared<File>()).first;
    }
    new (base) Handle{{&methods()},
                      &disk,
                      found->second,
                      path,
                      SQLITE_LOCK_NONE,
                      (flags & SQLITE_OPEN_DELETEONCLOSE) != 0,
                      false,
                      {},
                      {}};
    if (out_flags) *out_flags = flags;
    return SQLITE_OK;
}

// Durable at once: SQLite syncs the folder where that matters to it.
int delete_file(sqlite3_vfs* vfs, const char* name, int) {
    Disk& disk = disk_of(vfs);
    std::lock_guard lock(disk.mutex);
    if (!disk.powered()) return SQLITE_IOERR_DELETE;
    return disk.files.erase(name) > 0 ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

int access_file(sqlite3_vfs* vfs, const char* name, int, int* result) {
    Disk& disk = disk_of(vfs);
    std::lock_guard lock(disk.mutex);
    *result = disk.files.contains(name) ? 1 : 0;
    return SQLITE_OK;
}

int full_path(sqlite3_vfs*, const char* name, int size, char* out) {
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
}
int randomness(sqlite3_vfs* vfs, int size, char* out) {
    Disk& disk = disk_of(vfs);
    std::lock_guard lock(disk.mutex);
    for (int i = 0; i < size; ++i) out[i] = static_cast<char>(disk.next() >> 56);
    return size;
}
int no_sleep(sqlite3_vfs*, int micros) {
    return micros;
}
int fixed_time(sqlite3_vfs*, double* days) {
    *days = 2461000.5;
    return SQLITE_OK;
}
int fixed_time_64(sqlite3_vfs*, sqlite3_int64* millis) {
    *millis = static_cast<sqlite3_int64>(2461000.5 * 86'400'000);
    return SQLITE_OK;
}
int last_error(sqlite3_vfs*, int, char*) {
    return 0;
}

}  // namespace

UnsyncedVfs::UnsyncedVfs(std::uint64_t seed) : disk_(std::make_unique<Disk>()) {
    Disk& disk = *disk_;
    disk.random = seed;
    disk.name = "turnout-unsynced-" + std::to_string(reinterpret_cast<std::uintptr_t>(&disk));
    disk.vfs.iVersion = 2;
    disk.vfs.szOsFile = sizeof(Handle);
    disk.vfs.mxPathname = 512;
    disk.vfs.zName = disk.name.c_str();
    disk.vfs.pAppData = &disk;
    disk.vfs.xOpen = open_file;
    disk.vfs.xDelete = delete_file;
    disk.vfs.xAccess = access_file;
    disk.vfs.xFullPathname = full_path;
    disk.vfs.xRandomness = randomness;
    disk.vfs.xSleep = no_sleep;
    disk.vfs.xCurrentTime = fixed_time;
    disk.vfs.xCurrentTimeInt64 = fixed_time_64;
    disk.vfs.xGetLastError = last_error;
    TURNOUT_CHECK(sqlite3_vfs_register(&disk.vfs, 0) == SQLITE_OK, "SQLite refuses the VFS");
}

UnsyncedVfs::~UnsyncedVfs() {
    sqlite3_vfs_unregister(&disk_->vfs);
}

const std::string& UnsyncedVfs::name() const {
    return disk_->name;
}

void UnsyncedVfs::cut_after(std::uint64_t n) {
    std::lock_guard lock(disk_->mutex);
    disk_->cut_at = disk_->operations + n;
}

bool UnsyncedVfs::is_cut() const {
    std::lock_guard lock(disk_->mutex);
    return disk_->operations > disk_->cut_at;
}

std::uint64_t UnsyncedVfs::operations() const {
    std::lock_guard lock(disk_->mutex);
    return disk_->operations;
}

void UnsyncedVfs::set_capacity(std::uint64_t bytes) {
    std::lock_guard lock(disk_->mutex);
    disk_->capacity = bytes;
}

void UnsyncedVfs::power_on() {
    std::lock_guard lock(disk_->mutex);
    Disk& disk = *disk_;
    for (auto at = disk.files.begin(); at != disk.files.end();) {
        File& file = *at->second;
        for (Change& change : file.pending) {
            switch (disk.next() % 4) {
                case 0: continue;  // lost, though later ones may be kept
                case 1:            // torn between two sectors
                    if (!change.truncate)
                        change.bytes.resize(disk.next() % (change.bytes.size() / kSector + 1) *
                                            kSector);
                    break;
                default: break;
            }
            change_content(file.durable, change);
        }
        file.pending.clear();
        file.content = file.durable;
        file.index.clear();
        const bool missing = !file.ever_synced && disk.next() % 2 == 0;
        at = missing ? disk.files.erase(at) : std::next(at);
    }
    disk.cut_at = std::numeric_limits<std::uint64_t>::max();
}

}  // namespace turnout
