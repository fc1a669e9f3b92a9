"""What a diagnosis means and what to do next, in plain words."""

from typing import Literal, NamedTuple

from linkstead.invocation.call import Call
from linkstead.invocation.record import Diagnosis


class Explanation(NamedTuple):
    """A sentence on what happened and one on what to do, in three languages; the second is empty when all is well.

    `{timeout_ms}`, `{late_by_ms}`, `{code}` and `{request_id}` stand for those of the call.
    """

    meaning_en: str
    advice_en: str
    meaning_zh: str
    advice_zh: str
    meaning_ja: str
    advice_ja: str


EXPLANATIONS = {
    Diagnosis.ANSWERED: Explanation(
        "The device answered in time.",
        "",
        "设备按时应答。",
        "",
        "デバイスは時間内に応答しました。",
        "",
    ),
    Diagnosis.DELIVERED: Explanation(
        "The message was delivered: written to the connection at QoS 0, acknowledged by the device at QoS 1.",
        "",
        "消息已送达：QoS 0 表示已写入连接，QoS 1 表示设备已确认收到。",
        "",
        "メッセージは届きました。QoS 0 では接続に書き込まれ、QoS 1 ではデバイスが受信を確認しています。",
        "",
    ),
    Diagnosis.NEVER_ACTIVATED: Explanation(
        "The device is registered, but has never connected.",
        "Connect it: do its host and port lead to this server, are its ProductKey, DeviceName and DeviceSecret right?",
        "设备已注册，但从未连接过。",
        "请连接设备：检查设备侧的主机和端口是否指向本服务器，以及 ProductKey、DeviceName 和 DeviceSecret。",
        "デバイスは登録されていますが、一度も接続していません。",
        "接続先のホストとポート、ProductKey、DeviceName、DeviceSecret を確認し、デバイスを接続してください。",
    ),
    Diagnosis.DISABLED: Explanation(
        "The device is disabled, so nothing was sent to it.",
        "Enable it (EnableThing), then call again.",
        "设备已被禁用，未向其发送任何消息。",
        "请先启用设备（EnableThing），再重新调用。",
        "デバイスは無効化されているため、何も送信していません。",
        "デバイスを有効化（EnableThing）してから、もう一度呼び出してください。",
    ),
    Diagnosis.NOT_CONNECTED: Explanation(
        "The device was not connected when the call came.",
        "Look at its power and network; the server's log says when and why its last connection ended.",
        "收到调用时设备未连接。",
        "请检查设备的电源和网络；服务器日志中有其上次连接断开的时间和原因。",
        "呼び出しが来たとき、デバイスは接続していませんでした。",
        "電源とネットワークを確認してください。前回の接続がいつ、なぜ切れたかはサーバーのログにあります。",
    ),
    Diagnosis.NOT_SUBSCRIBED: Explanation(
        "The device was within reach, but had not subscribed to the topic of the message.",
        "Have the device subscribe to the topic when it connects, and check that the two are spelled alike.",
        "设备可达，但没有订阅该消息的 Topic。",
        "请让设备在连接后订阅该 Topic，并检查两边的 Topic 是否一致。",
        "デバイスには届く状態でしたが、メッセージの Topic を購読していませんでした。",
        "接続時にその Topic を購読させ、双方の Topic のつづりが一致しているか確認してください。",
    ),
    Diagnosis.HALF_CONNECTED: Explanation(
        "The device's connection had broken, less than one keep-alive period before the call.",
        "Call again in a moment: devices reconnect by themselves. If they do not, look at the network.",
        "设备连接在调用前不到一个心跳周期内断开。",
        "请稍后重新调用：设备会自动重连。若一直未重连，请检查网络。",
        "デバイスの接続は、呼び出しの前、キープアライブ 1 周期以内に切れていました。",
        "少し待ってからもう一度呼び出してください。デバイスは自動で再接続します。しない場合はネットワークを確認してください。",
    ),
    Diagnosis.SUPERSEDED_CONNECTION: Explanation(
        "The device connected anew while the call waited, and neither connection brought an answer.",
        "Check whether two programs use this device's credentials, or why it reconnects.",
        "等待应答期间设备重新建立了连接，新旧连接上都没有应答。",
        "请检查是否有两个程序使用同一设备证书，或设备为何重连。",
        "待っている間にデバイスが接続し直し、どちらの接続からも応答がありませんでした。",
        "2 つのプログラムが同じデバイスの認証情報を使っていないか、または再接続の原因を確認してください。",
    ),
    Diagnosis.WRITTEN_NO_ANSWER: Explanation(
        "The message left for the device, which sent no answer within {timeout_ms} ms.",
        "Check that the device handles requests on this topic, and in its own log whether this one arrived.",
        "消息已发往设备，设备在 {timeout_ms} 毫秒内未应答。",
        "请检查设备是否处理该 Topic 上的请求，并在设备日志中确认是否收到此消息。",
        "メッセージはデバイスに送られましたが、{timeout_ms} ミリ秒以内に応答がありませんでした。",
        "デバイスがこの Topic の要求を処理しているか、デバイス側のログにこの要求が届いているかを確認してください。",
    ),
    Diagnosis.WRITTEN_NO_ACKNOWLEDGEMENT: Explanation(
        "The message left for the device, which did not acknowledge it.",
        "The connection may be broken without either side knowing yet: wait a keep-alive period, then call again.",
        "消息已发往设备，但设备未确认收到。",
        "连接可能已断开而双方尚未察觉：请等待一个心跳周期后重新调用。",
        "メッセージはデバイスに送られましたが、受信確認がありませんでした。",
        "双方が気付かないまま接続が切れている可能性があります。キープアライブ 1 周期後に再度呼び出してください。",
    ),
    Diagnosis.WRITE_FAILED: Explanation(
        "The connection broke, or the time was up, before the whole message had left for the device.",
        "Call again once the device is connected and reads what it is sent: it has not acted on this call.",
        "消息尚未完整发出，连接就已断开或时限已到。",
        "请在设备重新连接并正常收取消息后再次调用：设备没有执行本次调用。",
        "メッセージがすべて送り出される前に、接続が切れたか、時間切れになりました。",
        "デバイスが接続して受信できるようになってから、もう一度呼び出してください。この呼び出しは実行されていません。",
    ),
    Diagnosis.ANSWERED_LATE: Explanation(
        "The device answered {late_by_ms} ms after the deadline of {timeout_ms} ms.",
        "Give the call more time (Timeout, up to 8000 ms), or have the device answer sooner and work on afterwards.",
        "设备应答比 {timeout_ms} 毫秒的时限晚了 {late_by_ms} 毫秒。",
        "请增大 Timeout（最大 8000 毫秒），或让设备先应答、后处理。",
        "デバイスの応答は、期限の {timeout_ms} ミリ秒より {late_by_ms} ミリ秒遅れました。",
        "Timeout を長くする（最大 8000 ミリ秒）か、先に応答してから処理を続けるようデバイスを変更してください。",
    ),
    Diagnosis.ANSWERED_WRONG_MESSAGE_ID: Explanation(
        "The device sent an answer, but with a message id other than this call's.",
        "Have the device answer with the id that stands in the topic of the request.",
        "设备发送了应答，但消息 ID 与本次调用不符。",
        "请让设备使用请求 Topic 中的消息 ID 应答。",
        "デバイスは応答しましたが、メッセージ ID がこの呼び出しのものと違いました。",
        "要求の Topic にある ID で応答するようデバイスを直してください。",
    ),
    Diagnosis.ANSWERED_WRONG_TOPIC: Explanation(
        "The device answered with the right message id, but not on the topic that the answer has to come on.",
        "Answer …/rrpc/request/ID on …/rrpc/response/ID, and /ext/rrpc/… on the very topic of the request.",
        "设备使用了正确的消息 ID，但应答的 Topic 不正确。",
        "…/rrpc/request/ID 须在 …/rrpc/response/ID 上应答，/ext/rrpc/… 须在与请求相同的 Topic 上应答。",
        "メッセージ ID は正しいものの、応答の Topic が違いました。",
        "…/rrpc/request/ID には …/rrpc/response/ID で、/ext/rrpc/… には要求と同じ Topic で応答してください。",
    ),
    Diagnosis.ANSWER_MALFORMED: Explanation(
        "The device answered with something that could not be read.",
        "Compare the answer below with the format that the product asks for.",
        "设备的应答无法解析。",
        "请将下方应答内容与产品要求的格式对照。",
        "デバイスの応答を読み取れませんでした。",
        "下の応答を、プロダクトが求める形式と比べてください。",
    ),
    Diagnosis.ANSWER_TOO_LARGE: Explanation(
        "The device's answer was larger than a message may be, and was dropped.",
        "Have the device answer with less than 256 KB.",
        "设备的应答超过消息大小上限，已被丢弃。",
        "请让设备的应答小于 256 KB。",
        "デバイスの応答がメッセージの上限を超えたため、破棄しました。",
        "応答を 256 KB 未満にしてください。",
    ),
    Diagnosis.EXT_NOT_SET: Explanation(
        "The call named a custom topic, but the device did not offer /ext/rrpc/ when it connected, and did not answer.",
        "Call without Topic, or connect the device with ext=1 in its client id.",
        "调用使用了自定义 Topic，但设备连接时未声明支持 /ext/rrpc/，设备没有应答。",
        "请在调用时不传 Topic，或让设备在 clientId 中带上 ext=1 后重新连接。",
        "カスタム Topic への呼び出しでしたが、デバイスは接続時に /ext/rrpc/ への対応を示さず、応答もしませんでした。",
        "Topic なしで呼び出すか、clientId に ext=1 を付けてデバイスを接続してください。",
    ),
    Diagnosis.THROTTLED: Explanation(
        "The call was refused because there were too many, or the device reads too slowly ({code}); nothing was sent.",
        "Call less often, or raise the limit: linkstead serve --quota ACTION=N.",
        "调用过于频繁或设备收取消息过慢，调用已被拒绝（{code}）；未发送任何消息。",
        "请降低调用频率，或提高限额：linkstead serve --quota ACTION=N。",
        "呼び出しが多すぎるか、デバイスの受信が遅すぎるため、拒否されました（{code}）。何も送信していません。",
        "呼び出しを減らすか、上限を上げてください: linkstead serve --quota ACTION=N。",
    ),
    Diagnosis.REJECTED: Explanation(
        "The request was refused ({code}); nothing was sent.",
        "Correct the request: its answer named the parameter and the rule.",
        "请求被拒绝（{code}）；未发送任何消息。",
        "请修改请求：应答中已指出有误的参数和规则。",
        "要求は拒否されました（{code}）。何も送信していません。",
        "要求を直してください。誤りのあるパラメーターと規則は応答に示されています。",
    ),
    Diagnosis.NODE_LOST: Explanation(
        "The node that held the device's connection was lost; whether the device got the message is not known.",
        "Find out the device's state before calling again.",
        "持有设备连接的节点失联，无法得知设备是否收到消息。",
        "重新调用前请先确认设备的状态。",
        "デバイスの接続を持つノードが失われ、デバイスに届いたかどうか分かりません。",
        "もう一度呼び出す前に、デバイスの状態を確かめてください。",
    ),
    Diagnosis.NODES_UNREACHABLE: Explanation(
        "The device is not connected to the node that was called, which could not reach the other nodes.",
        "Look at the NATS servers and at the network between them and this node. Nothing was sent by this call.",
        "设备未连接到被调用的节点，而该节点无法与其他节点通信。",
        "请检查 NATS 服务器以及本节点到它们的网络。本次调用未发送任何消息。",
        "デバイスは呼び出されたノードになく、そのノードは他のノードと通信できませんでした。",
        "NATS サーバーとそこまでのネットワークを確認してください。何も送信していません。",
    ),
    Diagnosis.DATABASE_AWAY: Explanation(
        "The database could not be read or written in time.",
        "Look at the database and at the network between it and this node. Nothing was sent by this call.",
        "未能及时读写数据库。",
        "请检查数据库以及本节点到数据库的网络。本次调用未发送任何消息。",
        "データベースを時間内に読み書きできませんでした。",
        "データベースとそこまでのネットワークを確認してください。この呼び出しでは何も送信していません。",
    ),
    Diagnosis.INTERNAL_ERROR: Explanation(
        "The server itself failed.",
        "Look for request {request_id} in the server's log.",
        "服务器内部出错。",
        "请在服务器日志中查找请求 {request_id}。",
        "サーバー内部でエラーが起きました。",
        "サーバーのログで要求 {request_id} を探してください。",
    ),
}


def explain(call: Call, language: Literal["en", "zh", "ja"]) -> tuple[str, str]:
    """What happened to a call and what to do next; both empty while it is under way, the second when all is well."""
    if call.diagnosis is None:
        return "", ""
    found = EXPLANATIONS[call.diagnosis]
    texts = {
        "en": (found.meaning_en, found.advice_en),
        "zh": (found.meaning_zh, found.advice_zh),
        "ja": (found.meaning_ja, found.advice_ja),
    }[language]
    fills = {
        "timeout_ms": call.timeout_ms,
        "late_by_ms": call.late_by_ms,
        "code": call.code,
        "request_id": call.request_id,
    }
    meaning, advice = (text.format(**fills) for text in texts)
    return meaning, advice
