/* floor: the cheapest thing that can pass for a Socket.IO broadcast server: one send(2) of a prebuilt frame per member.
 * It has one room, and only as much protocol as wsload asks for. What it costs is what one write per delivery costs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_MEMBERS 100000
#define MAX_TEXT 65000

static const char *UPGRADE =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static int member[MAX_MEMBERS], members;

static size_t make_frame(char *out, const char *text, size_t n) {
  size_t head = 0;
  out[head++] = (char)0x81;
  if (n < 126) out[head++] = (char)n;
  else { out[head++] = 126; out[head++] = (char)(n >> 8); out[head++] = (char)n; }
  memcpy(out + head, text, n);
  return head + n;
}

static void send_text(int fd, const char *text) {
  char frame[128];
  send(fd, frame, make_frame(frame, text, strlen(text)), MSG_NOSIGNAL);
}

static void broadcast(const char *packet, size_t n) {
  static char text[MAX_TEXT + 64], frame[MAX_TEXT + 64];
  const char *body = memmem(packet, n, "@T", 2);
  if (!body) return;
  int size = snprintf(text, sizeof text, "42[\"msg\",\"%.*s]", (int)(packet + n - 1 - body), body);
  size_t length = make_frame(frame, text, size);
  for (int i = 0; i < members; i++) send(member[i], frame, length, MSG_NOSIGNAL);
}

static void on_text(int fd, const char *text, size_t n) {
  if (!memcmp(text, "40", 2)) send_text(fd, "40{\"sid\":\"y\"}");
  else if (!memcmp(text, "420", 3)) { member[members++ % MAX_MEMBERS] = fd; send_text(fd, "430[\"ok\"]"); }
  else if (!memcmp(text, "42", 2)) broadcast(text, n);
}

static void leave(int fd) {
  close(fd);
  for (int i = 0; i < members; i++)
    if (member[i] == fd) { member[i] = member[--members]; return; }
}

/* Frames of this client are never cut by the kernel's buffers: it has at most a few small ones on the way. */
static void on_readable(int fd) {
  static char data[1 << 17];
  ssize_t n = recv(fd, data, sizeof data - 1, 0);
  if (n <= 0) { leave(fd); return; }
  data[n] = 0;
  if (!memcmp(data, "GET", 3)) {
    send(fd, UPGRADE, strlen(UPGRADE), MSG_NOSIGNAL);
    send_text(fd, "0{\"sid\":\"x\"}");
    return;
  }
  for (char *at = data; at < data + n;) {
    size_t length = at[1] & 127, head = 6;
    if (length == 126) { length = (unsigned char)at[2] << 8 | (unsigned char)at[3]; head = 8; }
    on_text(fd, at + head, length);
    at += head + length;
  }
}

static void admit(int listener, int epoll) {
  int on = 1, fd = accept(listener, NULL, NULL);
  if (fd < 0) return;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
  int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001u)};
  struct epoll_event events[256], event = {.events = EPOLLIN, .data.fd = listener};
  if (argc != 2) return 2;
  address.sin_port = htons(atoi(argv[1]));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) { perror("listen"); return 1; }
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int n = epoll_wait(epoll, events, 256, -1);
    for (int i = 0; i < n; i++) events[i].data.fd == listener ? admit(listener, epoll) : on_readable(events[i].data.fd);
  }
}
