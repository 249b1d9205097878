// Several workers behind one listening socket.
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "protocol/mqtt/listener_fixture.h"

namespace headwater::mqtt {
namespace {

using test::loopback;

TEST(ListenerGroup, AClientLivesOnTheWorkerOfItsId) {
  constexpr std::size_t kWorkers = 3;
  std::vector<std::unique_ptr<io::Loop>> loops;
  std::vector<io::Loop*> pointers;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    loops.push_back(*io::Loop::create());
    pointers.push_back(loops.back().get());
  }
  auto group = *ListenerGroup::open(loopback(), pointers);
  group->start();
  struct Taken {
    std::mutex mutex;
    std::multiset<std::string> clients;
  };
  std::array<Taken, kWorkers> taken;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kWorkers; ++i) {
    Listener* const listener = &group->worker(i);
    Taken* const to = &taken[i];
    loops[i]->at_round_end([listener, to] {
      Arena arena;
      std::vector<Publish> out;
      const bool more = listener->take(100, arena, out);
      for (const Publish& one : out) {
        listener->acknowledge(one.client, one.position);
        const std::lock_guard lock(to->mutex);
        to->clients.emplace(one.client_id);
      }
      listener->flush();
      return more;
    });
    threads.emplace_back([loop = loops[i].get()] { loop->run(); });
  }
  constexpr int kClients = 24;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kClients; ++i) {
      auto fd = io::connect_tcp(*io::numeric_address("127.0.0.1", group->port()));
      ASSERT_TRUE(fd);
      pollfd wait{fd->get(), POLLOUT, 0};
      ASSERT_EQ(::poll(&wait, 1, 5000), 1);
      std::string bytes;
      Connect connect;
      connect.version = Version::k311;
      const std::string id = "device-" + std::to_string(i);
      connect.client_id = id;
      encode(bytes, connect);
      encode(bytes, Version::k311,
             PublishPacket{.topic = "t", .payload = "x", .packet_id = 1, .qos = 1});
      ASSERT_EQ(::send(fd->get(), bytes.data(), bytes.size(), 0),
                static_cast<ssize_t>(bytes.size()));
      std::string answer;
      while (answer.size() < 8) {  // CONNACK and PUBACK
        pollfd readable{fd->get(), POLLIN, 0};
        ASSERT_EQ(::poll(&readable, 1, 10'000), 1);
        std::array<char, 64> chunk{};
        const ssize_t got = recv(fd->get(), chunk.data(), chunk.size(), 0);
        ASSERT_GT(got, 0);
        answer.append(chunk.data(), static_cast<std::size_t>(got));
      }
    }
  }
  for (const auto& loop : loops) {
    loop->stop();
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::size_t total = 0;
  for (Taken& one : taken) {
    for (const std::string& client : one.clients) {
      EXPECT_EQ(one.clients.count(client), 2U) << client << " was seen on two workers";
    }
    EXPECT_FALSE(one.clients.empty());
    total += one.clients.size();
  }
  EXPECT_EQ(total, 2U * kClients);
  group.reset();
}

TEST(ListenerGroup, CommandsFromAnotherThreadReachClientsOfEveryWorker) {
  constexpr std::size_t kWorkers = 3;
  constexpr int kClients = 12;
  ListenerOptions options = loopback();
  for (const std::string_view pattern : {"commands/%c/#", "commands/dev-%c/#"}) {
    options.commands = pattern;  // by worker, and to all of them
    std::vector<std::unique_ptr<io::Loop>> loops;
    std::vector<io::Loop*> pointers;
    for (std::size_t i = 0; i < kWorkers; ++i) {
      loops.push_back(*io::Loop::create());
      pointers.push_back(loops.back().get());
    }
    auto group = *ListenerGroup::open(options, pointers);
    group->start();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kWorkers; ++i) {
      loops[i]->at_round_end([listener = &group->worker(i)] {
        Arena arena;
        std::vector<Publish> out;
        return listener->take(100, arena, out);
      });
      threads.emplace_back([loop = loops[i].get()] { loop->run(); });
    }
    std::atomic<int> ended{0};
    std::vector<io::Fd> clients;
    for (int i = 0; i < kClients; ++i) {
      auto fd = io::connect_tcp(*io::numeric_address("127.0.0.1", group->port()));
      ASSERT_TRUE(fd);
      pollfd wait{fd->get(), POLLOUT, 0};
      ASSERT_EQ(::poll(&wait, 1, 5000), 1);
      const std::string id = std::to_string(i);
      const std::string own =
          (pattern == "commands/%c/#" ? "commands/" : "commands/dev-") + id + "/stop";
      Connect connect;
      connect.version = Version::k311;
      connect.client_id = id;
      Subscribe subscribe{.packet_id = 1};
      subscribe.subscriptions.push_back({own, 0, false, false, 0});
      std::string bytes;
      encode(bytes, connect);
      encode(bytes, Version::k311, subscribe);
      ASSERT_EQ(::send(fd->get(), bytes.data(), bytes.size(), 0),
                static_cast<ssize_t>(bytes.size()));
      auto command = std::make_shared<Command>();
      command->topic = own;
      command->payload = "x";
      command->until = io::mono_now() + std::chrono::minutes(1);
      command->on_end = [&ended] { ++ended; };
      group->send(command);  // before the client has subscribed, or after
      std::string answer;
      const std::size_t whole = 4 + 5 + 2 + 2 + own.size() + 1;  // CONNACK, SUBACK, PUBLISH
      while (answer.size() < whole) {
        pollfd readable{fd->get(), POLLIN, 0};
        ASSERT_EQ(::poll(&readable, 1, 10'000), 1);
        std::array<char, 64> chunk{};
        const ssize_t got = recv(fd->get(), chunk.data(), chunk.size(), 0);
        ASSERT_GT(got, 0);
        answer.append(chunk.data(), static_cast<std::size_t>(got));
      }
      EXPECT_EQ(answer.size(), whole);
      EXPECT_NE(answer.find(own + "x"), std::string::npos);
      EXPECT_EQ(command->state.load(), CommandState::kDelivered);
      clients.push_back(*std::move(fd));
    }
    EXPECT_EQ(ended.load(), kClients);
    for (const auto& loop : loops) {
      loop->stop();
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    group.reset();
  }
}

TEST(ListenerGroup, NamesWhatIsWrongWithItsOptions) {
  auto loop = *io::Loop::create();
  std::array<io::Loop*, 1> loops = {loop.get()};
  const auto error = [&](const ListenerOptions& options) {
    auto group = ListenerGroup::open(options, loops);
    return group ? std::string() : group.error().text();
  };
  ListenerOptions options = loopback();
  options.topics = {"a#"};
  EXPECT_EQ(error(options), "'a#' is not a topic filter");
  options = loopback();
  options.address = "1884";
  EXPECT_EQ(error(options), "MQTT listener on '1884': '1884' has no port; write HOST:PORT");
  options = loopback();
  options.password_file = "/nonexistent/passwords";
  EXPECT_NE(error(options).find("/nonexistent/passwords"), std::string::npos);
  options = loopback();
  options.client_id_is_username = true;
  EXPECT_NE(error(options).find("password file"), std::string::npos);
}

}  // namespace
}  // namespace headwater::mqtt
