#!/usr/bin/perl
# The workload of the test pods: one script, many behaviours. It needs nothing
# but perl-base, so that its image can be made from the node's own files.
#
#   workload.pl MODE ARGUMENT…
#
# Markers are files that the suite reads on the node afterwards. Each line is
# "<unix time> <word>", written with one write, so that lines never mix.
use strict;
use warnings;
use Fcntl;

# Only some modes need sockets. Loading them takes an emulated CPU most of a
# second, in each of the containers that do not.
sub with_sockets {
    require IO::Select;
    require IO::Socket::INET;
    require Socket;
}

$| = 1;

sub mark {
    my ($file, $word) = @_;
    return if $file eq '-';
    sysopen(my $fh, $file, O_WRONLY | O_CREAT | O_APPEND, 0644) or die "opening marker $file: $!\n";
    syswrite($fh, time() . " $word\n");
    close $fh;
}

# A signal ends the rest. What arrives between the look at a flag and the rest
# is seen a second later; more wake-ups would cost an emulated node its CPU.
sub rest { select(undef, undef, undef, 1) }

# The first process of a PID namespace ignores SIGTERM unless it asks for it,
# so every mode that lives on says what it does on SIGTERM.
my %mode = (

    # Reports SIGTERM and ends, like a well-behaved service.
    'trap-term' => sub {
        my ($marker, $delay) = @_;
        my $term = 0;
        $SIG{TERM} = sub { $term = 1 };
        mark($marker, 'START');
        rest() until $term;
        mark($marker, 'TERM');
        sleep $delay if $delay;
        mark($marker, 'EXIT');
        exit 0;
    },

    # Reports SIGTERM and stays: only SIGKILL ends it.
    'ignore-term' => sub {
        my ($marker) = @_;
        $SIG{TERM} = sub { mark($marker, 'TERM') };
        mark($marker, 'START');
        rest() while 1;
    },

    # Fails at once.
    'crash' => sub {
        my ($code) = @_;
        die "crashing on purpose\n" if $code > 255;
        exit $code;
    },

    # Succeeds at once, for a Job.
    'done' => sub {
        my ($marker) = @_;
        mark($marker, 'DONE');
        exit 0;
    },

    # Ends after some seconds or on SIGTERM; what an exec runs.
    'sleep' => sub {
        my ($seconds) = @_;
        $SIG{TERM} = sub { exit 0 };
        my $end = time() + $seconds;
        print "sleeping\n";
        rest() while time() < $end;
        exit 0;
    },

    # Signals a child and waits for its end, as a shell does with its jobs.
    'signal-child' => sub {
        my $pid = fork;
        die "forking: $!\n" unless defined $pid;
        unless ($pid) { sleep 30; exit 1 }
        unless (kill 'TERM', $pid) { print "signalling a child: $!\n"; exit 1 }
        waitpid $pid, 0;
        my $signal = $? & 127;
        print $signal == 15 ? "signalled\n" : "the child ended with status $?\n";
        exit($signal == 15 ? 0 : 1);
    },

    # Writes one word, for hooks.
    'mark' => sub {
        my ($marker, $word, $delay) = @_;
        mark($marker, $word);
        sleep $delay if $delay;
        exit 0;
    },

    # Has children that never end by themselves; on SIGTERM it ends without
    # waiting for them, so that the kernel and the runtime must clean up.
    'spawn' => sub {
        my ($marker, $children) = @_;
        for (1 .. $children) {
            my $pid = fork;
            die "forking: $!\n" unless defined $pid;
            unless ($pid) { $SIG{TERM} = 'IGNORE'; rest() while 1 }
        }
        my $term = 0;
        $SIG{TERM} = sub { $term = 1 };
        mark($marker, 'START');
        rest() until $term;
        mark($marker, 'TERM');
        exit 0;
    },

    # Answers every TCP connection with one HTTP response that names it.
    'serve' => sub {
        my ($port, $name) = @_;
        with_sockets();
        $SIG{TERM} = sub { exit 0 };
        $SIG{PIPE} = 'IGNORE';
        my $listener = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Proto => 'tcp', Listen => 64, ReuseAddr => 1)
            or die "listening on port $port: $@\n";
        print 'listening on port ', $listener->sockport, "\n";
        while (1) {
            my $client = $listener->accept or next;
            # A client that says nothing must not keep the others waiting.
            my $request = '';
            if (IO::Select->new($client)->can_read(5)) { sysread($client, $request, 4096) }
            my $body = "$name\n";
            syswrite($client, "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
            close $client;
        }
    },

    # Asks a "serve" for its name. Exit 1: no connection; 2: no answer.
    'dial' => sub {
        my ($host, $port, $timeout) = @_;
        with_sockets();
        my $server = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Proto => 'tcp', Timeout => $timeout);
        unless ($server) { print STDERR "connecting to $host:$port: $@\n"; exit 1 }
        syswrite($server, "GET / HTTP/1.0\r\n\r\n");
        my ($text, $end) = ('', time() + $timeout);
        my $select = IO::Select->new($server);
        while ($select->can_read($end > time() ? $end - time() : 0)) {
            my $n = sysread($server, $text, 4096, length $text);
            last unless $n;
        }
        unless ($text =~ /^HTTP\/1\.\d 200 .*?\r\n\r\n(.*)$/s) { print STDERR "no answer from $host:$port: $text\n"; exit 2 }
        print $1;
        exit 0;
    },

    # Asks the name server for an A record and prints the addresses. Without a
    # server it takes the first of /etc/resolv.conf. Exit 1: no answer in time;
    # 2: the server answered with an error or without an address.
    'lookup' => sub {
        my ($name, $timeout, $server, $port) = @_;
        with_sockets();
        unless ($server) {
            open(my $fh, '<', '/etc/resolv.conf') or die "opening /etc/resolv.conf: $!\n";
            while (my $line = <$fh>) { if ($line =~ /^nameserver\s+(\S+)/) { $server = $1; last } }
            die "/etc/resolv.conf names no server\n" unless $server;
        }
        my $id = $$ & 0xffff;
        my $query = pack('n6', $id, 0x0100, 1, 0, 0, 0) . join('', map { pack('C/a', $_) } grep { length } split /\./, $name) . pack('Cnn', 0, 1, 1);
        my $socket = IO::Socket::INET->new(PeerAddr => $server, PeerPort => $port || 53, Proto => 'udp') or die "no socket to $server: $@\n";
        my $end = time() + $timeout;
        while (time() < $end) {
            $socket->send($query);
            next unless IO::Select->new($socket)->can_read(2);
            defined $socket->recv(my $answer, 4096) or next;
            my ($got, $flags, $questions, $answers) = unpack('n4', $answer);
            next unless defined $answers && $got == $id;
            my $rcode = $flags & 15;
            if ($rcode) { print STDERR "$server answers $name with rcode $rcode\n"; exit 2 }
            my $at = 12;
            my $skip = sub {
                while (1) {
                    my $n = unpack('C', substr($answer, $at, 1));
                    if ($n >= 192) { $at += 2; return }
                    $at += $n + 1;
                    return unless $n;
                }
            };
            for (1 .. $questions) { $skip->(); $at += 4 }
            my $found = 0;
            for (1 .. $answers) {
                $skip->();
                my ($type, undef, undef, $length) = unpack('nnNn', substr($answer, $at, 10));
                $at += 10;
                if ($type == 1 && $length == 4) { print Socket::inet_ntoa(substr($answer, $at, 4)), "\n"; $found++ }
                $at += $length;
            }
            exit($found ? 0 : 2);
        }
        print STDERR "$server does not answer\n";
        exit 1;
    },

    # Prints the files that this script needs beside itself: the interpreter,
    # the modules, their shared objects. The image is made from this list.
    'files' => sub {
        require DynaLoader;
        with_sockets();
        print "$_\n" for $^X, sort(grep { defined && -e } values(%INC), @DynaLoader::dl_shared_objects);
        exit 0;
    },
);

my $name = shift @ARGV;
die "usage: workload.pl MODE ARGUMENT…; modes: @{[join ' ', sort keys %mode]}\n"
    unless defined $name && $mode{$name};
$mode{$name}->(@ARGV);
