// The full round of service discovery through nacos-sdk-go, driven by `cargo xtask sdk naming`.
//
// Arguments: address (host:port), `round` or `victim` (who only registers, beats and is killed), seed.
// The questions are described in `xtask/src/sdk/naming/questions.rs`, the steps in `xtask/src/sdk/naming/steps.rs`.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"
	_ "unsafe"

	"github.com/nacos-group/nacos-sdk-go/clients"
	"github.com/nacos-group/nacos-sdk-go/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/common/constant"
	"github.com/nacos-group/nacos-sdk-go/common/http_agent"
	"github.com/nacos-group/nacos-sdk-go/model"
	"github.com/nacos-group/nacos-sdk-go/vo"

	"round/speech"
)

const (
	group      = "DEFAULT_GROUP"
	otherGroup = "SDK_GROUP"
	within     = 3 * time.Second
	goneWithin = 60 * time.Second
)

var (
	address   = os.Args[1]
	seed      = os.Args[3]
	namespace = "sdk-go-" + seed
	// Without a plus or per cent sign: what this SDK sends by PUT, heartbeats among it, it does not encode.
	metadata  = map[string]string{"区域": "华东一区", "note": "a=1&b 中文，标点"}
	much      = map[string]string{"much": strings.Repeat("很多", 400)}
	clientsNo = 0
)

// Where the SDK wants to be told of changes: by itself it takes the first address that is not of loopback, and there
// is no option for another one.
//
//go:linkname localIP github.com/nacos-group/nacos-sdk-go/util.localIP
var localIP string

// service is the one for one purpose; nothing else in this round or another run uses it.
func service(what string) string {
	return "sdk.go." + seed + "." + what
}

func ip(number int) string {
	return "127.0.4." + strconv.Itoa(number)
}

func port(number int) string {
	return strconv.Itoa(8000 + number)
}

// line is a healthy instance as xtask words it.
func line(cluster, weight, kind string, metadata map[string]string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(metadata); err != nil {
		return err.Error()
	}
	return strings.Join([]string{cluster, weight, "healthy", kind, strings.TrimSpace(text.String())}, " ")
}

// shown is an instance as plain HTTP shows it.
func shown(what string, number int) string {
	return shownIn("-", group, what, number)
}

func shownIn(namespace, group, what string, number int) string {
	return speech.Ask("instance", namespace, group, service(what), ip(number), port(number))
}

// changed is a change behind the SDK's back.
func changed(how, what string, number int, parameters ...string) error {
	words := append([]string{how, "-", group, service(what), ip(number), port(number)}, parameters...)
	return equal(speech.Ask(words...), "ok")
}

func equal(seen, wanted string) error {
	if seen != wanted {
		return fmt.Errorf("%q instead of %q", seen, wanted)
	}
	return nil
}

// soon reads until it is as wanted, for Nacos promises it soon.
func soon(read func() string, wanted string, within time.Duration) error {
	begun := time.Now()
	for {
		err := equal(read(), wanted)
		if err == nil || time.Since(begun) > within {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func soonShown(what string, number int, wanted string) error {
	return soon(func() string { return shown(what, number) }, wanted, within)
}

type client struct {
	sdk   naming_client.INamingClient
	proxy naming_client.NamingProxy
}

// newClient has a cache folder of its own. It lists nothing before it has asked for it: each list is kept from then on.
func newClient(namespace string) (*client, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	folder, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	clientsNo++
	config := constant.NewClientConfig(
		constant.WithNamespaceId(namespace),
		constant.WithTimeoutMs(5000),
		constant.WithNotLoadCacheAtStart(true),
		constant.WithLogDir(filepath.Join(folder, "logs")),
		constant.WithLogLevel("warn"),
		constant.WithCacheDir(filepath.Join(folder, "client-"+strconv.Itoa(clientsNo))),
	)
	servers := []constant.ServerConfig{*constant.NewServerConfig(host, port)}
	sdk, err := clients.NewNamingClient(vo.NacosClientParam{ClientConfig: config, ServerConfigs: servers})
	if err != nil {
		return nil, err
	}
	// The SDK's own part for what its public one has no call for.
	proxy, err := naming_client.NewNamingProxy(*config, servers, &http_agent.HttpAgent{})
	return &client{sdk, proxy}, err
}

func (c *client) register(what string, number int, metadata map[string]string, more ...func(*vo.RegisterInstanceParam)) error {
	param := vo.RegisterInstanceParam{
		Ip: ip(number), Port: uint64(8000 + number), Weight: 1, Enable: true, Healthy: true, Metadata: metadata,
		ClusterName: "DEFAULT", ServiceName: service(what), GroupName: group, Ephemeral: true,
	}
	for _, change := range more {
		change(&param)
	}
	registered, err := c.sdk.RegisterInstance(param)
	if err == nil && !registered {
		err = fmt.Errorf("register did not answer true")
	}
	return err
}

func (c *client) deregister(param vo.DeregisterInstanceParam) error {
	param.Cluster, param.GroupName = "DEFAULT", group
	deregistered, err := c.sdk.DeregisterInstance(param)
	if err == nil && !deregistered {
		err = fmt.Errorf("it did not answer true")
	}
	return err
}

// instances are what the SDK was told last; it asks only once, and every ten seconds from then on.
func (c *client) instances(what, group string, clusters ...string) []model.Instance {
	all, _ := c.sdk.SelectAllInstances(vo.SelectAllInstancesParam{
		ServiceName: service(what), GroupName: group, Clusters: clusters,
	})
	return all
}

// numbers are the last parts of the addresses.
func numbers(instances []model.Instance) string {
	all := make([]int, 0, len(instances))
	for _, one := range instances {
		number, _ := strconv.Atoi(strings.TrimPrefix(one.Ip, "127.0.4."))
		all = append(all, number)
	}
	sort.Ints(all)
	return strings.Trim(fmt.Sprint(all), "[]")
}

func find(instances []model.Instance, number int) *model.Instance {
	for _, one := range instances {
		if one.Ip == ip(number) {
			return &one
		}
	}
	return nil
}

type notice struct {
	at        time.Time
	instances []model.SubscribeService
}

func (n notice) find(number int) *model.SubscribeService {
	for _, one := range n.instances {
		if one.Ip == ip(number) {
			return &one
		}
	}
	return nil
}

// listener holds all that a subscriber is told, in order.
type listener struct {
	told chan notice
}

func (c *client) listen(what string) (*listener, error) {
	// Room for more than any round tells, so that the SDK never waits for us.
	heard := &listener{make(chan notice, 1000)}
	err := c.sdk.Subscribe(&vo.SubscribeParam{
		ServiceName: service(what), GroupName: group,
		SubscribeCallback: func(instances []model.SubscribeService, _ error) {
			heard.told <- notice{time.Now(), instances}
		},
	})
	return heard, err
}

// expect waits until told of a list of which something holds; gives the time since then.
func (l *listener) expect(isSo func(notice) bool, since time.Time) (time.Duration, error) {
	if l == nil {
		return 0, fmt.Errorf("there is no listener, since an earlier step failed")
	}
	var heard []string
	late := time.After(within - time.Since(since))
	for {
		select {
		case told := <-l.told:
			if isSo(told) {
				return max(0, told.at.Sub(since)), nil
			}
			heard = append(heard, strconv.Itoa(len(told.instances)))
		case <-late:
			return 0, fmt.Errorf("not told within %v, but of so many: %v", within, heard)
		}
	}
}

func max(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}

func main() {
	localIP = "127.0.0.1"
	part := round
	if os.Args[2] == "victim" {
		part = victim
	}
	if err := part(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func victim() error {
	one, err := newClient("")
	if err != nil {
		return err
	}
	if err := one.register("kept", 99, metadata); err != nil {
		return err
	}
	speech.Say("registered", "-", group, service("kept"), ip(99), port(99))
	speech.Hear()
	return nil
}

func round() error {
	speech.Say("client", strings.TrimPrefix(constant.CLIENT_VERSION, "Nacos-Go-Client:v"))
	public, err := newClient("")
	if err != nil {
		return err
	}
	spaced, err := newClient(namespace)
	if err != nil {
		return err
	}
	// Something that a persistent instance's health check can connect to.
	socket, err := net.Listen("tcp", ip(7)+":0")
	if err != nil {
		return err
	}
	defer socket.Close()
	lasting := socket.Addr().(*net.TCPAddr).Port
	lastingLine := line("DEFAULT", "1", "persistent", metadata)
	shownLasting := func() string {
		return speech.Ask("instance", "-", group, service("lasting"), ip(7), strconv.Itoa(lasting))
	}
	var told *listener

	speech.Untimed("server-status", func() error {
		if !public.proxy.ServerHealthy() {
			return fmt.Errorf("it is not UP")
		}
		return nil
	})
	speech.Untimed("register", func() error {
		err := speech.First(
			public.register("kept", 1, metadata),
			public.register("plain", 1, map[string]string{}),
			public.register("plain", 2, metadata, func(p *vo.RegisterInstanceParam) { p.Weight = 1.5 }),
			soonShown("kept", 1, line("DEFAULT", "1", "ephemeral", metadata)),
			soonShown("plain", 1, line("DEFAULT", "1", "ephemeral", map[string]string{})),
			soonShown("plain", 2, line("DEFAULT", "1.5", "ephemeral", metadata)),
		)
		// From here on the SDK has itself told.
		public.instances("kept", group)
		return err
	})
	speech.Untimed("query", func() error {
		one := find(public.instances("plain", group), 2)
		if one == nil || one.Port != 8002 || one.Weight != 1.5 || !one.Healthy || !one.Enable || !one.Ephemeral ||
			!reflect.DeepEqual(one.Metadata, metadata) {
			return fmt.Errorf("it is %+v", one)
		}
		return nil
	})
	listed := func(one *client, wanted string, clusters ...string) error {
		return soon(func() string { return numbers(one.instances("plain", group, clusters...)) }, wanted, within)
	}
	speech.Untimed("query-cluster", func() error {
		// Clients of their own: servers of 2.x tell one client of one choice of clusters.
		east, err := newClient("")
		if err != nil {
			return err
		}
		rest, err := newClient("")
		if err != nil {
			return err
		}
		return speech.First(
			public.register("plain", 3, metadata, func(p *vo.RegisterInstanceParam) { p.ClusterName = "east" }),
			listed(public, "1 2 3"), listed(east, "3", "east"), listed(rest, "1 2", "DEFAULT"),
		)
	})
	speech.Untimed("query-healthy", func() error {
		selected := func(healthy bool, wanted string) error {
			return soon(func() string {
				those, err := public.sdk.SelectInstances(vo.SelectInstancesParam{
					ServiceName: service("plain"), GroupName: group, HealthyOnly: healthy,
				})
				if err != nil {
					return err.Error()
				}
				return numbers(those)
			}, wanted, within)
		}
		return speech.First(
			changed("register", "plain", 4, "healthy=false"),
			listed(public, "1 2 3 4"), selected(true, "1 2 3"), selected(false, "4"),
		)
	})

	speech.Untimed("subscribed", func() error {
		var err error
		told, err = public.listen("plain")
		if err != nil {
			return err
		}
		if _, err := told.expect(func(n notice) bool { return n.find(2) != nil }, time.Now()); err != nil {
			return err
		}
		return equal(speech.Ask("subscribed", "-", group, service("plain")), "yes")
	})
	speech.Step("told-of-instance", func() (time.Duration, error) {
		begun := time.Now()
		if err := changed("register", "plain", 5); err != nil {
			return 0, err
		}
		return told.expect(func(n notice) bool { return n.find(5) != nil }, begun)
	})
	speech.Step("told-of-much", func() (time.Duration, error) {
		text, err := json.Marshal(much)
		begun := time.Now()
		if err := speech.First(err, changed("register", "plain", 6, "metadata="+string(text))); err != nil {
			return 0, err
		}
		return told.expect(func(n notice) bool {
			return n.find(6) != nil && reflect.DeepEqual(n.find(6).Metadata, much)
		}, begun)
	})
	speech.Step("told-of-departure", func() (time.Duration, error) {
		begun := time.Now()
		if err := changed("deregister", "plain", 5); err != nil {
			return 0, err
		}
		return told.expect(func(n notice) bool { return n.find(5) == nil }, begun)
	})
	speech.Step("told-of-update", func() (time.Duration, error) {
		// All keys that it had, for servers of 2.x keep what is not named.
		updated := map[string]string{"版本": "二"}
		for key, value := range metadata {
			updated[key] = value
		}
		begun := time.Now()
		done, err := public.sdk.UpdateInstance(vo.UpdateInstanceParam{
			Ip: ip(2), Port: 8002, Weight: 3, Enable: true, Metadata: updated,
			ClusterName: "DEFAULT", ServiceName: service("plain"), GroupName: group, Ephemeral: true,
		})
		if err != nil || !done {
			return 0, fmt.Errorf("it answered %v, %v", done, err)
		}
		took, err := told.expect(func(n notice) bool {
			return n.find(2) != nil && n.find(2).Weight == 3 && reflect.DeepEqual(n.find(2).Metadata, updated)
		}, begun)
		return took, speech.First(err, soonShown("plain", 2, line("DEFAULT", "3", "ephemeral", updated)))
	})
	speech.Untimed("other-group", func() error {
		return speech.First(
			public.register("plain", 10, metadata, func(p *vo.RegisterInstanceParam) { p.GroupName = otherGroup }),
			soon(func() string { return numbers(public.instances("plain", otherGroup)) }, "10", within),
			soon(func() string { return shownIn("-", otherGroup, "plain", 10) },
				line("DEFAULT", "1", "ephemeral", metadata), within),
			equal(shown("plain", 10), "none"),
		)
	})
	speech.Untimed("other-namespace", func() error {
		return speech.First(
			spaced.register("plain", 11, metadata),
			soon(func() string { return numbers(spaced.instances("plain", group)) }, "11", within),
			soon(func() string { return shownIn(namespace, group, "plain", 11) },
				line("DEFAULT", "1", "ephemeral", metadata), within),
			equal(shown("plain", 11), "none"),
		)
	})
	speech.Untimed("service-list", func() error {
		all, err := public.sdk.GetAllServicesInfo(vo.GetAllServiceInfoParam{GroupName: group, PageNo: 1, PageSize: 500})
		if err != nil {
			return err
		}
		if !strings.Contains(strings.Join(all.Doms, " ")+" ", service("plain")+" ") || all.Count < int64(len(all.Doms)) {
			return fmt.Errorf("it is %+v", all)
		}
		those, err := spaced.sdk.GetAllServicesInfo(vo.GetAllServiceInfoParam{GroupName: group, PageNo: 1, PageSize: 10})
		if err == nil && (those.Count != 1 || !reflect.DeepEqual(those.Doms, []string{service("plain")})) {
			err = fmt.Errorf("it is %+v", those)
		}
		return err
	})
	speech.Untimed("persistent-register", func() error {
		return speech.First(
			public.register("lasting", 7, metadata, func(p *vo.RegisterInstanceParam) {
				p.Port, p.Ephemeral = uint64(lasting), false
			}),
			soon(shownLasting, lastingLine, within),
		)
	})
	speech.Step("deregister", func() (time.Duration, error) {
		begun := time.Now()
		err := public.deregister(vo.DeregisterInstanceParam{
			Ip: ip(2), Port: 8002, ServiceName: service("plain"), Ephemeral: true,
		})
		if err != nil {
			return 0, err
		}
		took, err := told.expect(func(n notice) bool { return n.find(2) == nil }, begun)
		return took, speech.First(err, soonShown("plain", 2, "none"))
	})

	// The other process of this program is killed.
	killed := speech.Ask("kill")
	answered := time.Now()
	untilKilled := func(isSo func(*model.Instance) bool) (time.Duration, error) {
		ms, err := strconv.Atoi(killed)
		if err != nil {
			return 0, fmt.Errorf("%s", killed)
		}
		lastBeat := answered.Add(-time.Duration(ms) * time.Millisecond)
		for !isSo(find(public.instances("kept", group), 99)) {
			if time.Since(lastBeat) > goneWithin {
				return 0, fmt.Errorf("not seen within %v", goneWithin)
			}
			time.Sleep(50 * time.Millisecond)
		}
		return time.Since(lastBeat), nil
	}
	speech.Step("killed-unhealthy", func() (time.Duration, error) {
		return untilKilled(func(one *model.Instance) bool { return one != nil && !one.Healthy })
	})
	speech.Step("killed-gone", func() (time.Duration, error) {
		return untilKilled(func(one *model.Instance) bool { return one == nil })
	})
	speech.Untimed("stays-away", func() error { return equal(shown("plain", 2), "none") })
	speech.Untimed("persistent-stays", func() error { return soon(shownLasting, lastingLine, within) })

	speech.Say("restart-please")
	if speech.Hear() == "restarted" {
		restarted := time.Now()
		speech.Untimed("after-restart-persistent", func() error {
			// A new client: the old one would show what it was told before.
			fresh, err := newClient("")
			if err != nil {
				return err
			}
			if err := soon(shownLasting, lastingLine, within); err != nil {
				return err
			}
			seen := fresh.instances("lasting", group)
			if len(seen) != 1 || !reflect.DeepEqual(seen[0].Metadata, metadata) {
				return fmt.Errorf("queried %+v", seen)
			}
			return nil
		})
		speech.Step("after-restart-back", func() (time.Duration, error) {
			err := speech.First(
				soon(func() string { return shown("kept", 1) }, line("DEFAULT", "1", "ephemeral", metadata), 15*time.Second),
				soon(func() string { return shown("plain", 3) }, line("east", "1", "ephemeral", metadata), 15*time.Second),
			)
			return time.Since(restarted), err
		})
		speech.Step("after-restart-told", func() (time.Duration, error) {
			if err := equal(speech.Ask("subscribed", "-", group, service("plain")), "yes"); err != nil {
				return 0, err
			}
			begun := time.Now()
			if err := changed("register", "plain", 5); err != nil {
				return 0, err
			}
			return told.expect(func(n notice) bool { return n.find(5) != nil }, begun)
		})
	}

	speech.Untimed("persistent-deregister", func() error {
		return speech.First(
			public.deregister(vo.DeregisterInstanceParam{
				Ip: ip(7), Port: uint64(lasting), ServiceName: service("lasting"), Ephemeral: false,
			}),
			soon(shownLasting, "none", within),
		)
	})
	speech.Say("done")
	return nil
}
