//! How steps, entries and leases are written inside frames: fixed little-endian numbers and length-prefixed bytes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::store::state::Step;
use crate::store::{Entry, Lease, Op};

/// Says that a payload does not hold what its frame promised.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) &'static str);

const CHANGE: u8 = 1;
const LEASE_SET: u8 = 2;
const LEASE_DROP: u8 = 3;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// Appends to a payload.
pub(super) struct Encoder<'a>(pub(super) &'a mut Vec<u8>);

impl Encoder<'_> {
    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        // No value is near 4 GiB: transactions are limited long before.
        self.0.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Change { revision, ops } => {
                self.byte(CHANGE);
                self.number(*revision);
                self.number(ops.len() as u64);
                ops.iter().for_each(|op| self.op(op));
            }
            Step::LeaseSet(lease) => {
                self.byte(LEASE_SET);
                self.lease(lease);
            }
            Step::LeaseDrop { name } => {
                self.byte(LEASE_DROP);
                self.bytes(name.as_bytes());
            }
        }
    }

    fn op(&mut self, op: &Op) {
        match op {
            Op::Put { key, value } => {
                self.byte(PUT);
                self.bytes(key.as_bytes());
                self.bytes(value);
            }
            Op::Delete { key } => {
                self.byte(DELETE);
                self.bytes(key.as_bytes());
            }
        }
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        let Entry { key, value, created, modified, version } = entry;
        self.bytes(key.as_bytes());
        self.number(*created);
        self.number(*modified);
        self.number(*version);
        self.bytes(value);
    }

    pub(super) fn lease(&mut self, lease: &Lease) {
        let Lease { name, owner, token, ttl, expires } = lease;
        self.bytes(name.as_bytes());
        self.bytes(owner.as_bytes());
        self.number(*token);
        self.number(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
        self.0.extend_from_slice(&expires.as_nanosecond().to_le_bytes());
    }
}

/// Takes a payload apart.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("a payload ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("a payload ends too early"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(length as usize)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.bytes()?).map_err(|_| Malformed("a key or name is not UTF-8"))
    }

    pub(super) fn step(&mut self) -> Result<Step, Malformed> {
        match self.byte()? {
            CHANGE => {
                let revision = self.number()?;
                let count = self.number()?;
                let ops = (0..count).map(|_| self.op()).collect::<Result<_, _>>()?;
                Ok(Step::Change { revision, ops })
            }
            LEASE_SET => Ok(Step::LeaseSet(self.lease()?)),
            LEASE_DROP => Ok(Step::LeaseDrop { name: self.text()?.to_owned() }),
            _ => Err(Malformed("a step is of no known kind")),
        }
    }

    fn op(&mut self) -> Result<Op, Malformed> {
        match self.byte()? {
            PUT => Ok(Op::Put { key: self.text()?.into(), value: self.bytes()?.into() }),
            DELETE => Ok(Op::Delete { key: self.text()?.into() }),
            _ => Err(Malformed("an operation is of no known kind")),
        }
    }

    pub(super) fn entry(&mut self) -> Result<Entry, Malformed> {
        let key: Arc<str> = self.text()?.into();
        let (created, modified, version) = (self.number()?, self.number()?, self.number()?);
        Ok(Entry { key, value: self.bytes()?.into(), created, modified, version })
    }

    pub(super) fn lease(&mut self) -> Result<Lease, Malformed> {
        let (name, owner) = (self.text()?.to_owned(), self.text()?.to_owned());
        let token = self.number()?;
        let ttl = Duration::from_nanos(self.number()?);
        let expires = Timestamp::from_nanosecond(i128::from_le_bytes(self.array()?));
        let expires = expires.map_err(|_| Malformed("a lease ends at no possible time"))?;
        Ok(Lease { name, owner, token, ttl, expires })
    }
}
