//! A hostile Fabric peer: TLS, HTTP/2 and the statement made by hand, and then bytes as an attack wants them.
//!
//! ```text
//!   folder ─▶ TLS ─▶ HTTP/2 ─▶ POST /gossip.Gossip/GossipStream ─▶ ConnEstablish with an identity as written ─▶ Gossip
//! ```

use crate::node::Node;
use crate::proxy::connect;
use crate::world::ORG;
use anyhow::{Context, anyhow};
use bytes::{Bytes, BytesMut};
use h2::client::{SendRequest, handshake};
use prost::Message;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use switchboard_fabric::PeerFolder;
use switchboard_fabric::conn_establish::certificate_hash;
use switchboard_fabric::grpc::{CONTENT_TYPE, STREAM_PATH, put_message};
use switchboard_fabric::identity::pki_id;
use switchboard_fabric::message::{ConnEstablish, Content, GossipMessage, SerializedIdentity, Tag};
use switchboard_fabric::sign::sign;
use switchboard_fabric::tls::configs;
use tokio_rustls::TlsConnector;

/// A gossip stream.
pub(crate) struct Gossip {
    _requests: SendRequest<Bytes>,
    stream: h2::SendStream<Bytes>,
    body: h2::RecvStream,
}

impl Gossip {
    /// A stream that the node has taken; `written` is the certificate as the statement has it.
    pub(crate) async fn open(
        folder: &PeerFolder,
        node: &Node,
        from: Ipv4Addr,
        written: String,
    ) -> anyhow::Result<Self> {
        let id_bytes: Bytes = written.into_bytes().into();
        let conn = ConnEstablish {
            pki_id: pki_id(ORG, &id_bytes).to_vec().into(),
            identity: SerializedIdentity { mspid: ORG.to_owned(), id_bytes }.encode_to_vec().into(),
            tls_cert_hash: certificate_hash(folder.tls.chain.first().context("no TLS certificate")?)
                .to_vec()
                .into(),
            probe: false,
        };
        let first = sign(&folder.identity, &GossipMessage::new(Tag::Empty, &[], 0, Content::Conn(conn)))?;
        let mut framed = BytesMut::new();
        put_message(&first.encode_to_vec(), &mut framed);

        let tls = TlsConnector::from(configs(folder, &folder.trust(), false)?.client);
        let stream = tls.connect("127.0.0.1".try_into()?, connect(from, node.addr()?).await?).await?;
        let (requests, connection) = handshake(stream).await?;
        tokio::spawn(connection);
        let mut requests = requests.ready().await?;
        let request = http::Request::post(format!("https://127.0.0.1{STREAM_PATH}"))
            .header("content-type", CONTENT_TYPE)
            .header("te", "trailers")
            .body(())?;
        let (response, mut stream) = requests.send_request(request, false)?;
        stream.send_data(framed.freeze(), false)?;
        let body = response.await?.into_body();
        Ok(Self { _requests: requests, stream, body })
    }

    /// Sends bytes as the node makes room for them, and takes what was sent off; an error at the end of the stream. May be
    /// dropped and called again.
    pub(crate) async fn put(&mut self, bytes: &mut Bytes) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            self.stream.reserve_capacity(bytes.len());
            let room = poll_fn(|cx| self.stream.poll_capacity(cx)).await;
            let room = room.ok_or_else(|| anyhow!("the stream is over"))??;
            self.stream.send_data(bytes.split_to(room.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// Some of what the node says.
    pub(crate) async fn hear(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = self.body.data().await;
        if let Some(Ok(data)) = &data {
            let _ = self.body.flow_control().release_capacity(data.len());
        }
        data
    }
}
