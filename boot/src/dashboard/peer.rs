//! Whose a connection on this host is: the kernel lists the user of every socket.
//!
//! A machine's folder and its control socket are its owner's alone; an address on loopback is everybody's who is on the host.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};

use rustix::process::getuid;

const ESTABLISHED: &str = "01";
/// The lists of a network, and whether their addresses are all of IPv6.
const LISTS: [(&str, bool); 2] = [("/proc/self/net/tcp", false), ("/proc/self/net/tcp6", true)];

/// Whether the other end of a connection is a socket of this process's user, or of root's.
///
/// # Errors
/// If this host does not list sockets.
pub(super) fn is_ours(other: SocketAddr, own: SocketAddr) -> io::Result<bool> {
    let mut failed = None;
    for (list, is_v6) in LISTS {
        let (Some(other), Some(own)) = (listed(other, is_v6), listed(own, is_v6)) else { continue };
        match File::open(list).and_then(|file| user_of(BufReader::new(file), &other, &own)) {
            Ok(Some(user)) => return Ok(user == 0 || user == getuid().as_raw()),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(false), Err)
}

/// The user of the socket that is at one end of a connection.
fn user_of(list: impl BufRead, local: &str, remote: &str) -> io::Result<Option<u32>> {
    for line in list.lines() {
        let line = line?;
        let mut words = line.split_whitespace().skip(1);
        if (words.next(), words.next(), words.next()) == (Some(local), Some(remote), Some(ESTABLISHED)) {
            return Ok(words.nth(3).and_then(|user| user.parse().ok()));
        }
    }
    Ok(None)
}

/// An address as the lists have it: words in this host's order of bytes. None if it cannot be in such a list.
fn listed(address: SocketAddr, is_v6: bool) -> Option<String> {
    let octets = match (address.ip(), is_v6) {
        (IpAddr::V4(ip), false) => ip.octets().to_vec(),
        (IpAddr::V4(ip), true) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(ip), true) => ip.octets().to_vec(),
        (IpAddr::V6(_), false) => return None,
    };
    let words = octets.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    Some(format!("{}:{:04X}", words.collect::<String>(), address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_list_tells_the_user_of_one_connection() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:57A1 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 19 1\n\
            1: 0100007F:C001 0100007F:57A1 01 00000000:00000000 00:00000000 00000000  1001        0 20 1\n\
            2: 0100007F:57A1 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 21 1\n\
            3: 0100007F:C002 0100007F:57A1 06 00000000:00000000 00:00000000 00000000     0        0 22 1\n";
        let user = |local: &str| user_of(list.as_bytes(), local, "0100007F:57A1").unwrap();
        assert_eq!(user("0100007F:C001"), Some(1001));
        assert_eq!(user("0100007F:C002"), None, "one that has ended is nobody's");
        assert_eq!(user("0100007F:C003"), None);
    }

    #[test]
    fn our_own_connections_are_ours() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            // A host may have no IPv6.
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let own = listener.local_addr().unwrap();
            let stream = TcpStream::connect(own).unwrap();
            let (_accepted, other) = listener.accept().unwrap();
            assert!(is_ours(other, own).unwrap());
            assert!(!is_ours(own, own).unwrap(), "nobody's");
            drop(stream);
        }
    }
}
