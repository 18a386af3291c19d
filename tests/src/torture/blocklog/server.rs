//! Disks as files of a FUSE file system, named by their numbers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::mood::Mood;
use super::record::{Blocks, Record, SECTOR};

/// A disk.
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) blocks: Blocks,
    pub(super) record: Record,
    pub(super) mood: Mood,
}

/// All disks, by number.
#[derive(Default)]
pub(super) struct Contents(Mutex<BTreeMap<u64, Content>>);

impl Contents {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Content>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file system: a file for each disk, named by its number.
pub(super) struct Server(pub(super) Arc<Contents>);

/// Nothing about a disk changes but what is in it.
const FOR_LONG: Duration = Duration::from_secs(3600);

impl Server {
    fn attributes(&self, inode: u64) -> Option<FileAttr> {
        let is_root = inode == INodeNo::ROOT.0;
        let size = if is_root { 0 } else { self.0.lock().get(&inode)?.size };
        Some(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size / SECTOR as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_root { FileType::Directory } else { FileType::RegularFile },
            perm: if is_root { 0o700 } else { 0o600 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str().and_then(|name| self.attributes(name.parse().ok()?)) {
            Some(attributes) => reply.entry(&FOR_LONG, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode.0) {
            Some(attributes) => reply.attr(&FOR_LONG, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Makers of file systems set times and the size that a disk has already.
    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, inode, handle, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Past the kernel's cache, so that a write is recorded when it is made and not later.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.0.lock().get_mut(&inode.0).map(|content| {
            let size = u64::from(size).min(content.size.saturating_sub(at));
            let bytes = content.blocks.read(at, usize::try_from(size).unwrap_or(0));
            (content.mood.pause(), content.mood.fails(at, size).then_some(Errno::EIO).map_or(Ok(bytes), Err))
        });
        let (pause, read) = read.unwrap_or((Duration::ZERO, Err(Errno::ENOENT)));
        thread::sleep(pause);
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut contents = self.0.lock();
        let Some(content) = contents.get_mut(&inode.0) else { return reply.error(Errno::ENOENT) };
        content.blocks.write(at, bytes);
        content.record.write(at, bytes);
        let pause = content.mood.pause();
        drop(contents);
        thread::sleep(pause);
        reply.written(u32::try_from(bytes.len()).unwrap_or(0));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flushed = |content: &mut Content| {
            content.record.flush();
            content.mood.pause()
        };
        let pause = self.0.lock().get_mut(&inode.0).map(flushed);
        thread::sleep(pause.unwrap_or_default());
        reply.ok();
    }
}
