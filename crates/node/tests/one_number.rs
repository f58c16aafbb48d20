//! Discovery has the number of the TCP listener, also where the system draws it.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use switchboard::net::{Connection, Datagrams, Listener, Network, TcpNetwork};
use switchboard::{BoxFuture, Env};
use switchboard_node::{Node, NodeBuilder};

/// A machine on which the first numbers that are drawn for TCP are taken on UDP.
#[derive(Default)]
struct Crowded {
    taken: usize,
    holding: Mutex<Vec<UdpSocket>>,
    drawn: Mutex<Vec<SocketAddr>>,
}

impl Network for Crowded {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpNetwork.listen(addr).await?;
            let mut drawn = self.drawn.lock().unwrap();
            if drawn.len() < self.taken {
                // If somebody else has it, it is taken as well.
                self.holding.lock().unwrap().extend(UdpSocket::bind(listener.local_addr()));
            }
            drawn.push(listener.local_addr());
            Ok(listener)
        })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        TcpNetwork.connect(addr)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        TcpNetwork.resolve(host, port)
    }

    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn Datagrams>>> {
        TcpNetwork.bind(addr)
    }
}

fn node(net: &Arc<Crowded>, versions: &str) -> NodeBuilder {
    let env = Env::system().unwrap().with_network(Arc::clone(net) as Arc<dyn Network>);
    Node::builder().wires(&["devp2p"]).env(env).listen("127.0.0.1:0").set("discovery", versions)
}

#[tokio::test]
async fn a_number_that_datagrams_do_not_get_is_drawn_again() {
    let net = Arc::new(Crowded { taken: 5, ..Crowded::default() });
    let node = node(&net, "v4,v5").start().await.unwrap();
    let drawn = net.drawn.lock().unwrap().clone();
    assert!(drawn.len() > 5, "{drawn:?}");
    let ready = node.ready();
    let own = drawn.last().unwrap();
    assert_eq!(ready["listening"][0]["address"], own.to_string(), "{ready:#}");
    // One number, so the address says it once; and it is ours on UDP.
    let enode = ready["devp2p"]["enode"].as_str().unwrap();
    assert!(enode.ends_with(&format!("@{own}")), "{enode}");
    assert_eq!(UdpSocket::bind(own).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    node.stop().await;
    UdpSocket::bind(own).unwrap();
}

#[tokio::test]
async fn where_none_is_free_the_start_fails() {
    let net = Arc::new(Crowded { taken: usize::MAX, ..Crowded::default() });
    let error = node(&net, "v4").start().await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("127.0.0.1:0"), "{error}");
    let drawn = net.drawn.lock().unwrap().len();
    assert!((2..100).contains(&drawn), "{drawn}");
}
